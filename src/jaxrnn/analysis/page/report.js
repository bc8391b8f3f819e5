"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const view = data.view, count = view.pieces.length;
  const levels = Uint8Array.from(atob(view.levels), (letter) => letter.charCodeAt(0));
  const by = (id) => document.getElementById(id);
  const passage = by("passage"), place = by("place");
  const state = { unit: 0, label: 0, at: -1 };

  const key = (layer, name, index) => `${layer}/${name}/${index}`;
  const rowOf = new Map(view.units.map((unit, row) => [key(...unit), row]));
  const named = ([layer, name, index]) => `${data.deep ? `layer ${layer}, ` : ""}${name} ${index}`;
  const valueAt = (row, at) => view.centres[row] + view.scales[row] * (levels[row * count + at] - 127) / 127;
  const signs = new Map([["\n", "end of line"], [" ", "blank"], ["\t", "tab"]]);
  const shown = (number) => number.toPrecision(3).replace("-", "\u2212");

  // The text: one element a symbol. An end of line is shown, so that it can be pointed at.
  const letters = view.pieces.map((piece, at) => {
    const letter = document.createElement("span");
    letter.textContent = piece.replace("\n", "\u21b5\n");
    letter.dataset.at = at;
    return letter;
  });
  passage.append(...letters);

  // The tint is full where all but a twentieth of the values stay below: one outlier must not pale the rest.
  function fullTint(row) {
    const sizes = levels.slice(row * count, (row + 1) * count).map((level) => Math.abs(level - 127)).sort();
    return Math.max(1, sizes[Math.floor(0.95 * (count - 1))]);
  }

  function paint() {
    const row = state.unit, bars = by("bars").checked, full = fullTint(row);
    letters.forEach((letter, at) => {
      const level = (levels[row * count + at] - 127) / full, size = Math.min(1, Math.abs(level));
      const share = (0.62 * size).toFixed(3);
      letter.style.backgroundColor = level > 0 ? `rgb(214 52 46 / ${share})` : `rgb(52 96 214 / ${share})`;
      const height = bars ? Math.round(3 * size) : 0;
      const bar = level > 0 ? `inset 0 ${-height}px 0 var(--high)` : `inset 0 ${height}px 0 var(--low)`;
      letter.style.boxShadow = height ? bar : "none";
    });
    const reach = view.scales[row] * full / 127;
    by("low").textContent = shown(view.centres[row] - reach);
    by("high").textContent = shown(view.centres[row] + reach);
    const [layer, name, index] = view.units[row];
    by("layer").value = layer;
    fillQuantities(layer);
    by("quantity").value = name;
    by("unit").value = index;
    by("unit").max = data.widths[`${layer}/${name}`] - 1;
    document.querySelectorAll("#ranking button").forEach((button) => {
      button.setAttribute("aria-pressed", String(Number(button.dataset.row) === row));
    });
    describe();
  }

  function underline() {
    const label = data.labels[state.label];
    letters.forEach((letter, at) => letter.classList.toggle("holds", label?.truth === true && label.values[at] === 1));
  }

  function rank() {
    const list = by("ranking"), finding = data.findings[state.label];
    list.replaceChildren();
    by("ranking-title").textContent = finding ? `Best units: ${finding.label}` : "Best units";
    for (const one of finding?.units ?? []) {
      const item = document.createElement("li"), button = document.createElement("button");
      const row = rowOf.get(key(...one.unit));
      button.type = "button";
      button.dataset.row = row;
      button.append(Object.assign(document.createElement("span"), { textContent: `${named(one.unit)}${one.sign < 0 ? ", low" : ""}` }));
      button.append(Object.assign(document.createElement("span"), { textContent: one.held_out === null ? "\u2013" : one.held_out.toFixed(3) }));
      button.addEventListener("click", () => choose(row));
      item.append(button);
      list.append(item);
    }
  }

  function describe() {
    if (state.at < 0) return;
    const at = state.at, piece = view.pieces[at], label = data.labels[state.label];
    const sign = signs.get(piece) ?? `\u201c${piece}\u201d`;
    const words = [sign, `${named(view.units[state.unit])} = ${shown(valueAt(state.unit, at))}`];
    if (label) words.push(`${label.name}: ${label.truth ? (label.values[at] ? "yes" : "no") : label.values[at]}`);
    words.push(`surprise ${(view.nats[at] / Math.LN2).toFixed(2)} bits`);
    place.textContent = words.join(" \u00b7 ");
  }

  function go(at, scroll) {
    letters[state.at]?.classList.remove("here");
    state.at = Math.max(0, Math.min(count - 1, at));
    letters[state.at].classList.add("here");
    if (scroll) letters[state.at].scrollIntoView({ block: "nearest", inline: "nearest" });
    describe();
  }

  function choose(row) {
    if (!view.units[row]) return;
    state.unit = row;
    paint();
  }

  function chooseLabel(number) {
    state.label = number;
    by("label").value = number;
    rank();
    underline();
    const best = data.findings[number]?.units[0];
    if (best) choose(rowOf.get(key(...best.unit)));
  }

  function sameLineAbove(direction) {
    // The letter nearest in the line above or below, as it is drawn.
    const box = letters[state.at].getBoundingClientRect();
    let best = state.at, distance = Infinity, line = null;
    for (let at = state.at + direction; at >= 0 && at < count; at += direction) {
      const other = letters[at].getClientRects()[0];
      if (!other || (direction > 0 ? other.top <= box.top + 2 : other.top >= box.top - 2)) continue;
      if (line !== null && Math.abs(other.top - line) > 2) break;
      line = other.top;
      if (Math.abs(other.left - box.left) < distance) { distance = Math.abs(other.left - box.left); best = at; }
    }
    return best;
  }

  function options(select, values, texts) {
    select.replaceChildren(...values.map((value, number) => new Option(texts[number], value)));
  }

  function fillQuantities(layer) {
    const names = [...new Set(view.units.filter((unit) => unit[0] === Number(layer)).map((unit) => unit[1]))];
    options(by("quantity"), names, names.map((name) => data.names[name] ?? name));
    return names;
  }

  function firstUnit(layer, name) {
    return view.units.findIndex((unit) => unit[0] === Number(layer) && unit[1] === name);
  }

  function step(direction) {
    const [layer, name] = view.units[state.unit], next = state.unit + direction;
    const same = view.units[next] && view.units[next][0] === layer && view.units[next][1] === name;
    if (same) choose(next);
  }

  options(by("layer"), data.layers, data.layers.map(String));
  options(by("label"), data.labels.map((_, n) => n), data.labels.map((label) => label.name));
  by("label").addEventListener("change", (event) => chooseLabel(Number(event.target.value)));
  by("layer").addEventListener("change", (event) => {
    const names = fillQuantities(event.target.value), now = view.units[state.unit][1];
    choose(firstUnit(event.target.value, names.includes(now) ? now : names[0]));
  });
  by("quantity").addEventListener("change", (event) => choose(firstUnit(by("layer").value, event.target.value)));
  by("unit").addEventListener("change", (event) => {
    const [layer, name] = view.units[state.unit], row = rowOf.get(key(layer, name, Number(event.target.value)));
    if (row === undefined) place.textContent = `${name} ${event.target.value} is not in this page`;
    if (row === undefined) event.target.value = view.units[state.unit][2];
    choose(row);
  });
  by("previous").addEventListener("click", () => step(-1));
  by("next").addEventListener("click", () => step(1));
  by("bars").addEventListener("change", paint);
  passage.addEventListener("mouseover", (event) => { if (event.target.dataset.at) go(Number(event.target.dataset.at)); });
  passage.addEventListener("click", (event) => { if (event.target.dataset.at) go(Number(event.target.dataset.at)); });
  passage.addEventListener("focus", () => { if (state.at < 0) go(0); });
  passage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowRight: () => go(state.at + 1, true), ArrowLeft: () => go(state.at - 1, true),
      ArrowDown: () => go(sameLineAbove(1), true), ArrowUp: () => go(sameLineAbove(-1), true),
      Home: () => go(0, true), End: () => go(count - 1, true), n: () => step(1), p: () => step(-1),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  document.querySelectorAll(".findings .unit").forEach((button) => button.addEventListener("click", () => {
    chooseLabel(Number(button.dataset.finding));
    by("text").scrollIntoView();
    passage.focus({ preventScroll: true });
  }));

  const root = document.documentElement, theme = by("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const sayTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `${theme.textContent} colours`); };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; sayTheme(); });
  dark.addEventListener("change", sayTheme);
  sayTheme();

  if (data.findings.length) chooseLabel(0); else choose(0);
})();
