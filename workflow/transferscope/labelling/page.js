"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const classNames = data.classes.map((one) => one.name);
  const MARK_KEYS = { skip: "s", unsure: "u" };
  const COLUMNS = ["tile_id", "labels", "labeller", "time"];
  const TEXT_FIELDS = new Set(["text", "file"]);

  // What the person has decided: tile id -> {labels, mark, labeller, time}.
  let answers = new Map();
  // Rows of other tiles, which are saved again as they came.
  let others = new Map(data.earlier.map((row) => [row.tile_id, row]));
  const past = [];
  const views = [...(data.colours.filter(Boolean).length > 1 ? [null] : []), ...data.channels.keys()];
  let position = 0;
  let view = 0;
  let unsaved = false;
  let drawing = 0;

  // ---- storage of the draft: a convenience that a browser may forbid ----

  const storage = {
    key: `transferscope-label-${data.draft}`,
    read() {
      try {
        return JSON.parse(localStorage.getItem(this.key));
      } catch {
        return null;
      }
    },
    write(value) {
      try {
        localStorage.setItem(this.key, JSON.stringify(value));
        return true;
      } catch {
        return false;
      }
    },
  };

  function keepDraft() {
    return storage.write({
      answers: [...answers],
      others: [...others],
      labeller: element("labeller").value,
    });
  }

  function restoreDraft() {
    const draft = storage.read();
    if (!draft || !Array.isArray(draft.answers)) return;
    answers = new Map(draft.answers);
    others = new Map([...others, ...draft.others]);
    element("labeller").value = draft.labeller || "";
    if (answers.size) {
      position = firstOpen();
      say(`Went on with ${answers.size} tiles that this browser has kept.`);
    }
  }

  // ---- decisions ----

  const current = () => data.tiles[position];
  const decisionOf = (tile) => answers.get(tile.id);

  function firstOpen() {
    const open = data.tiles.findIndex((tile) => !answers.has(tile.id));
    return open < 0 ? data.tiles.length - 1 : open;
  }

  function decide(labels, mark) {
    const id = current().id;
    past.push({ position, id, before: answers.get(id) });
    if (labels.length || mark) {
      const labeller = element("labeller").value.trim();
      answers.set(id, { labels, mark, labeller, time: new Date().toISOString() });
    } else {
      answers.delete(id);
    }
    changed();
  }

  function changed() {
    unsaved = true;
    if (!keepDraft()) say("This browser keeps no draft: save the CSV before you close the page.");
  }

  function choose(name) {
    const before = decisionOf(current());
    const labels = new Set(before ? before.labels : []);
    if (!data.multiple) {
      decide([name], "");
      move(1);
      return;
    }
    if (!labels.delete(name)) labels.add(name);
    decide(classNames.filter((one) => labels.has(one)), "");
    show();
  }

  function setMark(mark) {
    decide([], mark);
    move(1);
  }

  function undo() {
    const step = past.pop();
    if (!step) {
      say("There is nothing to undo.");
      return;
    }
    if (step.before) answers.set(step.id, step.before);
    else answers.delete(step.id);
    position = step.position;
    changed();
    say("Undone.");
    show();
  }

  function move(by) {
    const target = position + by;
    position = Math.min(Math.max(target, 0), data.tiles.length - 1);
    const open = data.tiles.length - answers.size;
    if (target >= data.tiles.length) {
      say(open ? `This is the last tile; ${open} are open: press n for the next of them.`
        : "All tiles are decided. Save the CSV.");
    }
    show();
  }

  function goToOpen() {
    position = firstOpen();
    show();
  }

  // ---- the picture: grey pictures, tinted and added ----

  const pictures = new Map();

  function pictureOf(source) {
    if (!pictures.has(source)) {
      const image = new Image();
      image.src = source;
      pictures.set(source, image.decode().then(() => image));
    }
    return pictures.get(source);
  }

  function tinted(image, colour) {
    const layer = document.createElement("canvas");
    layer.width = image.naturalWidth;
    layer.height = image.naturalHeight;
    const context = layer.getContext("2d");
    context.drawImage(image, 0, 0);
    context.globalCompositeOperation = "multiply";
    context.fillStyle = `rgb(${colour.join(" ")})`;
    context.fillRect(0, 0, layer.width, layer.height);
    return layer;
  }

  async function paint() {
    const mine = ++drawing;
    const shown = views[view];
    const tile = current();
    const chosen = shown === null ? [...data.channels.keys()].filter((i) => data.colours[i]) : [shown];
    const images = await Promise.all(chosen.map((index) => pictureOf(tile.pictures[index])));
    if (mine !== drawing) return;
    const canvas = element("tile");
    canvas.width = images[0].naturalWidth;
    canvas.height = images[0].naturalHeight;
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = "lighter";
    images.forEach((image, i) => {
      context.drawImage(shown === null ? tinted(image, data.colours[chosen[i]]) : image, 0, 0);
    });
    canvas.dataset.tile = tile.id;
    canvas.dataset.view = viewName(shown);
    forget(tile);
  }

  // Only neighbours are kept decoded, so that thousands of tiles take little memory.
  function forget(tile) {
    const kept = new Set();
    for (const near of data.tiles.slice(Math.max(position - 2, 0), position + 3)) {
      for (const source of near.pictures) kept.add(source);
    }
    for (const source of [...pictures.keys()]) if (!kept.has(source)) pictures.delete(source);
    const next = data.tiles[data.tiles.indexOf(tile) + 1];
    if (next) next.pictures.forEach(pictureOf);
  }

  const viewName = (shown) => (shown === null ? "colours" : data.channels[shown]);

  function setView(index) {
    view = (index + views.length) % views.length;
    show();
  }

  function setBrightness(steps) {
    const slider = element("brightness");
    slider.value = String(steps);
    const factor = 2 ** Number(slider.value);
    element("tile").style.filter = `brightness(${factor})`;
    element("brightness-text").value = `${Number(factor.toPrecision(2))}\u00d7`;
  }

  // ---- what is shown ----

  function say(text, problem = false) {
    const status = element("status");
    status.textContent = text;
    status.classList.toggle("problem", problem);
  }

  function show() {
    const decision = decisionOf(current());
    const labels = new Set(decision ? decision.labels : []);
    const counts = countLabels();
    for (const button of document.querySelectorAll("#classes button")) {
      const { name } = button.dataset;
      button.setAttribute("aria-pressed", String(labels.has(name)));
      button.querySelector(".count").textContent = counts.get(name) || "";
    }
    for (const button of document.querySelectorAll("#marks button")) {
      button.setAttribute("aria-pressed", String(Boolean(decision) && decision.mark === button.dataset.name));
    }
    document.querySelectorAll("#views button").forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === view));
    });
    showProgress(decision);
    paint();
  }

  function countLabels() {
    const counts = new Map();
    for (const { labels } of answers.values()) {
      for (const name of labels) counts.set(name, (counts.get(name) || 0) + 1);
    }
    return counts;
  }

  function showProgress(decision) {
    const total = data.tiles.length;
    element("progress").max = total;
    element("progress").value = answers.size;
    element("progress-text").textContent = `${answers.size} of ${total}`;
    element("position").textContent = `Tile ${position + 1} of ${total}`;
    element("previous").disabled = position === 0;
    element("next").disabled = position === total - 1;
    element("undo").disabled = past.length === 0;
    const said = decision ? decision.mark || decision.labels.join(", ") : "not decided";
    element("tile").setAttribute("aria-label", `Tile ${position + 1} of ${total}: ${said}`);
  }

  function answerButton(name, key, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.name = name;
    button.setAttribute("aria-pressed", "false");
    if (key) {
      button.setAttribute("aria-keyshortcuts", key);
      button.append(textElement("kbd", key), " ");
    }
    button.append(textElement("span", name, "name"));
    button.addEventListener("click", action);
    return button;
  }

  function textElement(tag, text, className) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function build() {
    for (const { name, key } of data.classes) {
      const button = answerButton(name, key, () => choose(name));
      button.append(textElement("span", "", "count"));
      element("classes").append(button);
    }
    for (const mark of data.marks) {
      element("marks").append(answerButton(mark, MARK_KEYS[mark], () => setMark(mark)));
    }
    views.forEach((shown, index) => element("views").append(viewButton(shown, index)));
    element("task").textContent = data.multiple
      ? "Press the keys of all classes that the tile shows, then Enter."
      : "Press the key of the class that the tile shows.";
    const help = data.multiple ? [["Enter", "next tile"]] : [];
    help.push(["\u2190 \u2192", "previous and next tile"], ["n", "next open tile"], ["c", "next view"]);
    help.push(["+ \u2212", "brighter, darker"], ["0", "brightness as it was"], ["z", "undo"]);
    for (const [key, text] of help) {
      const term = document.createElement("dt");
      term.append(textElement("kbd", key));
      element("help").append(term, textElement("dd", text));
    }
  }

  function viewButton(shown, index) {
    const button = document.createElement("button");
    button.type = "button";
    const colour = shown === null ? null : data.colours[shown];
    if (colour) {
      const swatch = textElement("span", "", "swatch");
      swatch.style.backgroundColor = `rgb(${colour.join(" ")})`;
      button.append(swatch);
    }
    button.append(viewName(shown));
    button.addEventListener("click", () => setView(index));
    return button;
  }

  // ---- CSV, RFC 4180 ----

  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

  function csvText() {
    const rows = [...others.values()];
    for (const { id } of data.tiles) {
      const made = answers.get(id);
      if (!made) continue;
      const labels = made.mark || made.labels.join(";");
      rows.push({ tile_id: id, labels, labeller: made.labeller, time: made.time });
    }
    const lines = rows.map((row) => COLUMNS.map((name) => quoted(row[name] || "")).join(","));
    return [COLUMNS.join(","), ...lines, ""].join("\r\n");
  }

  function parseCsv(text) {
    const rows = [];
    let row = [];
    const pattern = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/y;
    while (pattern.lastIndex < text.length) {
      const match = pattern.exec(text);
      if (!match) throw new Error(`row ${rows.length + 1} is no valid CSV`);
      row.push(match[1] === undefined ? match[2] : match[1].replaceAll('""', '"'));
      if (match[3] !== ",") {
        rows.push(row);
        row = [];
      } else if (pattern.lastIndex === text.length) {
        row.push("");
      }
    }
    if (row.length) rows.push(row);
    return rows;
  }

  function readTable(text) {
    const [header = [], ...rows] = parseCsv(text.replace(/^\ufeff/, ""));
    const names = header.map((cell) => cell.trim());
    for (const name of COLUMNS.slice(0, 2)) {
      if (!names.includes(name)) throw new Error(`the column "${name}" is missing`);
    }
    return rows
      .filter((cells) => cells.some((cell) => cell.trim()))
      .map((cells) => Object.fromEntries(COLUMNS.map((name) => {
        const at = names.indexOf(name);
        return [name, at < 0 ? "" : (cells[at] || "").trim()];
      })));
  }

  function answerOf(row) {
    const { labeller, time } = row;
    if (data.marks.includes(row.labels)) return { labels: [], mark: row.labels, labeller, time };
    const labels = row.labels.split(";").map((one) => one.trim()).filter(Boolean);
    const unknown = labels.find((one) => !classNames.includes(one));
    if (unknown !== undefined) throw new Error(`unknown label "${unknown}" of ${row.tile_id}`);
    if (!data.multiple && labels.length > 1) throw new Error(`several labels of ${row.tile_id}`);
    return { labels, mark: "", labeller, time };
  }

  function load(text, name) {
    try {
      const rows = readTable(text);
      const made = rows.map((row) => [row, answerOf(row)]);
      const here = new Set(data.tiles.map((tile) => tile.id));
      let count = 0;
      for (const [row, answer] of made) {
        if (!here.has(row.tile_id)) others.set(row.tile_id, row);
        else if (answer.labels.length || answer.mark) {
          answers.set(row.tile_id, answer);
          count += 1;
        }
      }
      past.length = 0;
      keepDraft();
      position = firstOpen();
      show();
      say(`${name}: ${count} tiles of this page; ${rows.length - count} other rows are kept.`);
    } catch (error) {
      say(`${name} was not loaded: ${error.message}.`, true);
    }
  }

  function save() {
    const address = URL.createObjectURL(new Blob([csvText()], { type: "text/csv" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = `${data.dataset}-labels.csv`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    unsaved = false;
    say(`Saved ${answers.size + others.size} rows as ${link.download}.`);
  }

  // ---- keys ----

  const brighter = (by) => setBrightness(Number(element("brightness").value) + by);
  const actions = {
    ArrowLeft: () => move(-1),
    ArrowRight: () => move(1),
    Enter: () => move(1),
    Backspace: undo,
    z: undo,
    n: goToOpen,
    c: () => setView(view + 1),
    "+": () => brighter(0.25),
    "=": () => brighter(0.25),
    "-": () => brighter(-0.25),
    0: () => setBrightness(0),
  };

  function actionOf(key) {
    const one = data.classes.find((candidate) => candidate.key && candidate.key === key);
    if (one) return () => choose(one.name);
    const mark = data.marks.find((candidate) => MARK_KEYS[candidate] === key);
    if (mark) return () => setMark(mark);
    return Object.hasOwn(actions, key) ? actions[key] : null;
  }

  function onKey(event) {
    const { target, key } = event;
    if (event.ctrlKey && key === "z" && !TEXT_FIELDS.has(target.type)) {
      event.preventDefault();
      undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (TEXT_FIELDS.has(target.type)) {
      if (key === "Enter" || key === "Escape") target.blur();
      return;
    }
    // Sliders, buttons and the list of keys have their own use for some keys.
    if (target.type === "range" && key.startsWith("Arrow")) return;
    if (key === "Enter" && target.closest("button, summary")) return;
    const action = actionOf(key);
    if (!action) return;
    event.preventDefault();
    say("");
    action();
  }

  function connect() {
    element("previous").addEventListener("click", () => move(-1));
    element("next").addEventListener("click", () => move(1));
    element("undo").addEventListener("click", undo);
    element("save").addEventListener("click", save);
    element("load").addEventListener("click", () => element("file").click());
    element("file").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      if (file) load(await file.text(), file.name);
      event.target.value = "";
    });
    element("labeller").addEventListener("input", keepDraft);
    element("brightness").addEventListener("input", (event) => setBrightness(event.target.value));
    document.addEventListener("keydown", onKey);
    window.addEventListener("beforeunload", (event) => {
      if (unsaved && !keepDraft()) event.preventDefault();
    });
  }

  build();
  connect();
  restoreDraft();
  setBrightness(0);
  show();
})();
