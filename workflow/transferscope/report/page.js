"use strict";

const find = (id) => document.getElementById(id);

function element(name, attributes = {}, text = null) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// On a narrow screen a row of the answer is a list, in which each cell needs its name.
for (const table of document.querySelectorAll(".answer table")) {
  const names = [...table.querySelectorAll("th")].map((cell) => cell.textContent);
  for (const row of table.tBodies[0]?.rows ?? []) [...row.cells].forEach((cell, i) => cell.setAttribute("data-name", names[i]));
}

const large = find("large");
for (const button of document.querySelectorAll(".picture")) {
  button.addEventListener("click", () => {
    const picture = button.querySelector("img");
    if (!picture) return;
    large.querySelector("img").src = picture.src;
    large.querySelector("img").alt = picture.alt;
    large.showModal();
  });
}
find("close").addEventListener("click", () => large.close());
