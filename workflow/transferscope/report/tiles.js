// Tiles: the map, the classes, the confusions, and the pictures behind them.
const datasets = JSON.parse(find("data").textContent).tiles;
const COLOURS = ["#2f7fc1", "#e0661b", "#1a9b72", "#c85fa0", "#b98800", "#7b61d1", "#d13c4b", "#128ea3", "#7f9a1f", "#a4623a", "#5f7d99", "#d977d0", "#4f9e3b", "#8f4f86", "#cc8b5c", "#3f5fbf", "#9c9a3a", "#b3475f", "#4aa69b", "#8a8f98"];
const PAGE = 48;
const tiles = { set: null, shown: [], at: -1, zoom: { scale: 1, x: 0, y: 0 }, sheets: [], gallery: [], open: 0, queued: false };

function isWrong(set, i) {
  const [given, true_] = [set.predicted[i], set.true[i]];
  return given !== null && (given.length !== true_.length || true_.some((c) => !given.includes(c)));
}

const names = (set, classes) => classes.map((c) => set.classes[c]).join(", ") || "none";

function said(set, i) {
  const given = set.predicted[i];
  const told = given === null ? "not predicted" : isWrong(set, i) ? (given.length ? `predicted as ${names(set, given)}` : "nothing predicted") : "predicted rightly";
  return `${set.ids[i]} (${set.groups[set.group[i]]}): ${names(set, set.true[i])}; ${told}`;
}

// The rarest class of a tile distinguishes it best.
function mainClass(set, i) {
  return set.true[i].reduce((best, c) => (set.sizes[c] < set.sizes[best] ? c : best));
}

function colourOf(set, i) {
  if (find("tile-colour").value === "kind") return set.predicted[i] === null ? COLOURS[19] : isWrong(set, i) ? COLOURS[1] : COLOURS[0];
  return COLOURS[set.main[i] % COLOURS.length];
}

function openDataset() {
  const set = datasets[find("tile-dataset").selectedIndex] ?? datasets[0];
  tiles.set = set;
  set.sizes = set.classes.map(() => 0);
  for (const classes of set.true) for (const c of classes) set.sizes[c] += 1;
  set.main = set.ids.map((_, i) => mainClass(set, i));
  const present = set.classes.map((name, c) => [name, c]).filter(([, c]) => set.sizes[c]);
  find("tile-class").replaceChildren(element("option", { value: "" }, "all"), ...present.map(([name, c]) => element("option", { value: c }, name)));
  tiles.sheets = (set.pictures?.sheets ?? []).map((source) => {
    const image = new Image();
    image.src = source;
    return image;
  });
  tiles.zoom = { scale: 1, x: 0, y: 0 };
  const fewer = set.ids.length < set.n_labelled ? ` ${set.ids.length.toLocaleString("en")} of ${set.n_labelled.toLocaleString("en")} labelled tiles are here, drawn at random.` : "";
  const known = set.predicted.some((given) => given !== null);
  const told = known ? ` Predicted by ${set.head}, split by ${set.scheme}: each tile by a head that has not seen its fold, in the first repeat.` : " There are no predictions of single tiles.";
  find("tile-about").textContent = `${set.map} of ${set.store}, the store that the summary writes about; axes and distances between clusters mean nothing.${told}${fewer}`;
  drawClasses(set);
  drawPairs(set);
  filterTiles();
  const wrong = set.ids.map((_, i) => i).filter((i) => isWrong(set, i));
  if (wrong.length) openGallery("with a mistake", wrong);
  else openGallery("all", set.ids.map((_, i) => i));
}

function filterTiles() {
  const set = tiles.set;
  const wanted = find("tile-class").value;
  const group = find("tile-group").value.toLowerCase();
  const kind = find("tile-kind").value;
  tiles.shown = set.ids.map((_, i) => i).filter((i) =>
    (wanted === "" || set.true[i].includes(Number(wanted)) || set.predicted[i]?.includes(Number(wanted))) &&
    set.groups[set.group[i]].toLowerCase().includes(group) &&
    (kind === "all" || (set.predicted[i] !== null && isWrong(set, i) === (kind === "wrong"))));
  // Keys go from left to right.
  tiles.shown.sort((a, b) => set.places[a][0] - set.places[b][0]);
  point(-1);
  find("tile-count").textContent = `${tiles.shown.length.toLocaleString("en")} of ${set.ids.length.toLocaleString("en")} tiles on the map`;
  drawLegend(set);
  requestMap();
}

function drawLegend(set) {
  const entry = (colour, text, press) => {
    const button = element("button", { type: "button" });
    const mark = element("span", { class: "mark", "aria-hidden": "true" });
    mark.style.background = colour;
    button.append(mark, text);
    if (press) button.addEventListener("click", press);
    return button;
  };
  if (find("tile-colour").value === "kind") {
    const choose = (kind) => () => { find("tile-kind").value = kind; filterTiles(); };
    find("tile-legend").replaceChildren(entry(COLOURS[1], "with a mistake", choose("wrong")), entry(COLOURS[0], "without one", choose("right")));
    return;
  }
  const classes = set.classes.map((_, c) => c).filter((c) => set.sizes[c]).sort((a, b) => set.sizes[b] - set.sizes[a]);
  find("tile-legend").replaceChildren(...classes.map((c) => entry(COLOURS[c % COLOURS.length], `${set.classes[c]} (${set.sizes[c].toLocaleString("en")})`, () => {
    const select = find("tile-class");
    select.value = select.value === String(c) ? "" : String(c);
    filterTiles();
  })));
}

function position(set, i, canvas) {
  const margin = 14 * ratio();
  // Distances on the axes mean nothing: each fills what there is.
  const [across, down] = [canvas.width - 2 * margin, canvas.height - 2 * margin];
  const { scale, x, y } = tiles.zoom;
  return [
    canvas.width / 2 + (set.places[i][0] - 0.5 + x) * across * scale,
    canvas.height / 2 + (0.5 - set.places[i][1] + y) * down * scale,
  ];
}

const ratio = () => Math.min(window.devicePixelRatio || 1, 2);

function requestMap() {
  if (tiles.queued) return;
  tiles.queued = true;
  requestAnimationFrame(() => { tiles.queued = false; drawMap(); });
}

function drawMap() {
  const [canvas, set] = [find("tile-map"), tiles.set];
  const box = canvas.getBoundingClientRect();
  const [width, height] = [Math.round(box.width * ratio()), Math.round(box.height * ratio())];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const size = Math.max(3, Math.min(9, 260 / Math.sqrt(tiles.shown.length + 1))) * ratio() * Math.sqrt(tiles.zoom.scale);
  const byColour = new Map();
  for (const i of tiles.shown) {
    const colour = colourOf(set, i);
    if (!byColour.has(colour)) byColour.set(colour, []);
    byColour.get(colour).push(i);
  }
  pen.globalAlpha = 0.85;
  for (const [colour, rows] of byColour) {
    pen.fillStyle = colour;
    for (const i of rows) {
      const [x, y] = position(set, i, canvas);
      if (x > -size && y > -size && x < width + size && y < height + size) pen.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }
  pen.globalAlpha = 1;
  if (tiles.at >= 0) {
    const [x, y] = position(set, tiles.at, canvas);
    pen.strokeStyle = getComputedStyle(document.body).color;
    pen.lineWidth = 2 * ratio();
    pen.strokeRect(x - size, y - size, 2 * size, 2 * size);
  }
}

function picture(canvas, set, i) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!set.pictures) return;
  const { size, per_row: across, per_sheet: most } = set.pictures;
  const image = tiles.sheets[Math.floor(i / most)];
  const place = i % most;
  const draw = () => { pen.imageSmoothingEnabled = canvas.width < 4 * size; pen.drawImage(image, (place % across) * size, Math.floor(place / across) * size, size, size, 0, 0, canvas.width, canvas.height); };
  if (image.complete) draw();
  else image.addEventListener("load", draw, { once: true });
}

function point(i) {
  tiles.at = i;
  const tip = find("tile-tip");
  tip.hidden = i < 0;
  if (i >= 0) {
    const [canvas, set] = [find("tile-map"), tiles.set];
    picture(tip.querySelector("canvas"), set, i);
    tip.querySelector("canvas").hidden = !set.pictures;
    find("tile-said").textContent = said(set, i);
    const [x, y] = position(set, i, canvas).map((value) => value / ratio());
    const [right, low] = [x > canvas.clientWidth / 2, y > canvas.clientHeight / 2];
    tip.style.left = right ? "" : `${x + 14}px`;
    tip.style.right = right ? `${canvas.clientWidth - x + 14}px` : "";
    tip.style.top = low ? "" : `${y + 14}px`;
    tip.style.bottom = low ? `${canvas.clientHeight - y + 14}px` : "";
  }
  requestMap();
}

function nearest(event) {
  const canvas = find("tile-map");
  const box = canvas.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.x) * ratio(), (event.clientY - box.y) * ratio()];
  let [found, least] = [-1, (18 * ratio()) ** 2];
  for (const i of tiles.shown) {
    const [a, b] = position(tiles.set, i, canvas);
    const distance = (a - x) ** 2 + (b - y) ** 2;
    if (distance < least) [found, least] = [i, distance];
  }
  return found;
}

function enlarge(factor) {
  const scale = Math.max(1, Math.min(40, tiles.zoom.scale * factor));
  if (scale === 1) Object.assign(tiles.zoom, { x: 0, y: 0 });
  else if (tiles.at >= 0) Object.assign(tiles.zoom, { x: 0.5 - tiles.set.places[tiles.at][0], y: tiles.set.places[tiles.at][1] - 0.5 });
  tiles.zoom.scale = scale;
  point(tiles.at);
}

function countButton(count, title, rows) {
  const cell = element("td");
  if (!rows.length) cell.textContent = count;
  else {
    const button = element("button", { type: "button", class: "count", "aria-label": `${count} tiles: ${title}` }, count);
    button.addEventListener("click", () => { openGallery(title, rows); find("tile-gallery-title").focus(); });
    cell.append(button);
  }
  return cell;
}

function heading(table, titles) {
  const line = element("tr");
  line.append(...titles.map((title) => element("th", { scope: "col" }, title)));
  find(table).tHead.replaceChildren(line);
}

function drawClasses(set) {
  heading("tile-classes", ["Class", "Tiles", "Missed", "Given wrongly", "F1", "Interval"]);
  const known = new Map(set.per_class.map((row) => [row.class, row]));
  const all = set.ids.map((_, i) => i);
  find("tile-classes").tBodies[0].replaceChildren(...set.classes.map((name, c) => {
    const row = known.get(name);
    const line = element("tr");
    const [low, high] = [row?.ci_low ?? null, row?.ci_high ?? null];
    line.append(
      element("th", { scope: "row" }, name),
      ...[
        [`of ${name}`, all.filter((i) => set.true[i].includes(c))],
        [`of ${name}, predicted as something else`, all.filter((i) => set.predicted[i] !== null && set.true[i].includes(c) && !set.predicted[i].includes(c))],
        [`predicted as ${name}, which they are not`, all.filter((i) => set.predicted[i]?.includes(c) && !set.true[i].includes(c))],
      ].map(([title, rows]) => countButton(rows.length, title, rows)),
      element("td", {}, number(row?.f1 ?? null)),
      element("td", {}, low === null ? "" : `${number(low)} to ${number(high)}`),
    );
    return line;
  }));
}

function drawPairs(set) {
  const pairs = new Map();
  set.true.forEach((classes, i) => {
    for (const c of set.predicted[i] === null ? [] : classes) {
      if (set.predicted[i].includes(c)) continue;
      for (const d of set.predicted[i]) {
        if (classes.includes(d)) continue;
        const key = c * set.classes.length + d;
        if (!pairs.has(key)) pairs.set(key, []);
        pairs.get(key).push(i);
      }
    }
  });
  const most = [...pairs].sort((a, b) => b[1].length - a[1].length).slice(0, 20);
  const several = set.multi_label ? " A tile of several classes is in each pair of a class that is missed and one that is given wrongly; classes that only occur together are in none." : "";
  find("tile-pairs-hint").textContent = most.length ? `The ${most.length} most frequent of ${pairs.size}.${several}` : "No tile here is taken for another class.";
  heading("tile-pairs", ["Is", "Taken for", "Tiles"]);
  find("tile-pairs").tBodies[0].replaceChildren(...most.map(([key, rows]) => {
    const [is, taken] = [set.classes[Math.floor(key / set.classes.length)], set.classes[key % set.classes.length]];
    const line = element("tr");
    line.append(element("td", {}, is), element("td", {}, taken), countButton(rows.length, `${is}, taken for ${taken}`, rows));
    return line;
  }));
}

function openGallery(title, rows) {
  Object.assign(tiles, { gallery: rows, open: 0 });
  find("tile-gallery-title").textContent = `Pictures: ${title}`;
  find("tile-gallery").replaceChildren();
  moreGallery();
}

function moreGallery() {
  const set = tiles.set;
  const next = tiles.gallery.slice(tiles.open, tiles.open + PAGE);
  tiles.open += next.length;
  find("tile-gallery").append(...next.map((i) => {
    const figure = element("button", { type: "button", class: isWrong(set, i) ? "tile wrong" : "tile", title: said(set, i) });
    const canvas = element("canvas", { width: 96, height: 96, role: "img", "aria-label": set.ids[i] });
    if (set.pictures) { picture(canvas, set, i); figure.append(canvas); }
    const given = set.predicted[i];
    figure.append(element("span", {}, names(set, set.true[i])));
    if (given !== null && isWrong(set, i)) figure.append(element("span", { class: "given" }, given.length ? `predicted: ${names(set, given)}` : "nothing predicted"));
    figure.addEventListener("click", () => openTile(i));
    return figure;
  }));
  find("tile-gallery-about").textContent = `${tiles.open.toLocaleString("en")} of ${tiles.gallery.length.toLocaleString("en")} tiles`;
  find("tile-more").hidden = tiles.open >= tiles.gallery.length;
}

function openTile(i) {
  find("tile-name").textContent = said(tiles.set, i);
  picture(find("tile-large").querySelector("canvas"), tiles.set, i);
  find("tile-large").querySelector("canvas").hidden = !tiles.set.pictures;
  find("tile-large").showModal();
}

if (datasets.length) {
  const canvas = find("tile-map");
  find("tile-dataset").replaceChildren(...datasets.map((set) => element("option", { value: set.dataset }, set.dataset)));
  find("tile-dataset").addEventListener("change", openDataset);
  for (const id of ["tile-class", "tile-kind", "tile-colour"]) find(id).addEventListener("change", filterTiles);
  find("tile-group").addEventListener("input", filterTiles);
  find("tile-in").addEventListener("click", () => enlarge(1.6));
  find("tile-out").addEventListener("click", () => enlarge(0));
  find("tile-more").addEventListener("click", moreGallery);
  find("tile-close").addEventListener("click", () => find("tile-large").close());
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, from: { ...tiles.zoom }, moved: false }; });
  canvas.addEventListener("pointermove", (event) => {
    if (drag && event.buttons && tiles.zoom.scale > 1) {
      const [across, down] = [canvas.clientWidth - 28, canvas.clientHeight - 28].map((length) => length * tiles.zoom.scale);
      drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4;
      Object.assign(tiles.zoom, { x: drag.from.x + (event.clientX - drag.x) / across, y: drag.from.y + (event.clientY - drag.y) / down });
      point(-1);
    } else point(nearest(event));
  });
  canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) point(-1); });
  canvas.addEventListener("click", (event) => {
    const i = nearest(event);
    if (i >= 0 && !drag?.moved) openTile(i);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    enlarge(event.deltaY < 0 ? 1.25 : 0.8);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const place = tiles.shown.indexOf(tiles.at);
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key in steps && tiles.shown.length) point(tiles.shown[(place + steps[event.key] + tiles.shown.length) % tiles.shown.length] ?? tiles.shown[0]);
    else if (event.key === "Enter" && tiles.at >= 0) openTile(tiles.at);
    else if (event.key === "+" || event.key === "=") enlarge(1.6);
    else if (event.key === "-") enlarge(1 / 1.6);
    else if (event.key === "Escape") point(-1);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(requestMap).observe(canvas);
  openDataset();
}
