"use strict";

// The table is there without this script, which sorts, searches and filters it, and opens its rows
// to the maps. All that it knows is in the page; it asks for nothing from anywhere.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (selector, within = document) => within.querySelector(selector);
  const make = (tag, attributes = {}, ...inside) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  };
  const grouped = (count) => count.toLocaleString("en-US");
  const counted = (count, what) => `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;
  const figuresOf = mapsOf(data, make);
  const body = find("tbody");
  document.documentElement.classList.add("js");

  // ---- The rows, and the button in each that opens it.

  const rows = data.weights.map((weight, place) => {
    const line = document.getElementById(`w${place}`);
    const button = make("button", { type: "button", class: "open", "aria-expanded": "false" });
    const head = find("th", line);
    button.append(...head.childNodes);
    head.append(button);
    const text = [weight.path, weight.dtype, weight.kind, `(${weight.shape.join(", ")})`].join(" ").toLowerCase();
    const row = { weight, place, line, button, text, detail: null, open: false, shown: true };
    line.addEventListener("click", (event) => {
      // Who marks a number to copy it does not want to open the row.
      if (!event.target.closest("a") && !String(getSelection())) toggle(row);
    });
    return row;
  });
  const rowOf = (line) => rows[Number(line.id.replace(/\D/g, ""))];

  function toggle(row, open = !row.open) {
    if (open && row.detail === null) {
      row.detail = detailOf(row);
      row.line.after(row.detail);
    }
    if (row.detail !== null) row.detail.hidden = !open || !row.shown;
    row.open = open;
    row.button.setAttribute("aria-expanded", String(open));
  }

  // ---- Sorting.

  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (one, other) => {
    if (Array.isArray(one)) {
      // Shapes: by rank, then axis by axis.
      const place = one.findIndex((size, axis) => size !== other[axis]);
      return one.length - other.length || (place < 0 ? 0 : one[place] - other[place]);
    }
    return typeof one === "string" ? collator.compare(one, other) : one - other;
  };
  const order = { key: null, down: false };
  const heads = [...document.querySelectorAll("thead th")];
  const select = find(".sorting select");
  const turn = find(".turn");

  function sortBy(key, down) {
    Object.assign(order, { key, down });
    const sorted = [...rows];
    if (key !== null) {
      sorted.sort((one, other) => {
        const found = compare(one.weight[key], other.weight[key]);
        return (down ? -found : found) || one.place - other.place;
      });
    } else if (down) sorted.reverse();
    const lines = document.createDocumentFragment();
    for (const row of sorted) lines.append(row.line, ...(row.detail ? [row.detail] : []));
    body.append(lines);
    data.columns.forEach((column, place) => {
      const sort = column.key !== key ? "none" : down ? "descending" : "ascending";
      heads[place].setAttribute("aria-sort", sort);
    });
    select.value = key ?? "";
    turn.textContent = down ? "↓" : "↑";
  }

  data.columns.forEach((column, place) => {
    const head = heads[place];
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    // Of numbers the largest are asked for first, of names the first.
    button.addEventListener("click", () => {
      sortBy(column.key, order.key === column.key ? !order.down : !column.text);
    });
  });
  select.append(make("option", { value: "" }, "order in the model"));
  for (const column of data.columns) select.append(make("option", { value: column.key }, column.name));
  select.addEventListener("change", () => {
    const column = data.columns.find(({ key }) => key === select.value);
    sortBy(select.value || null, column !== undefined && !column.text);
  });
  turn.addEventListener("click", () => sortBy(order.key, !order.down));

  // ---- Search and filters.

  const search = find("input[type=search]");
  const boxes = [...document.querySelectorAll(".controls input[type=checkbox]")];
  const tests = {
    partly: (weight) => weight.frozen > 0 && weight.frozen < weight.size,
    changed: (weight) => weight.changed > 0,
    leaks: (weight) => weight.leaked > 0,
  };

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = boxes.filter((box) => box.checked).map((box) => tests[box.name]);
    let shown = 0;
    for (const row of rows) {
      row.shown = words.every((word) => row.text.includes(word)) && asked.every((test) => test(row.weight));
      row.line.hidden = !row.shown;
      if (row.detail !== null) row.detail.hidden = !row.shown || !row.open;
      shown += row.shown;
    }
    const all = counted(rows.length, "weight");
    find(".count").textContent = shown === rows.length ? all : `${grouped(shown)} of ${all}`;
    find(".empty").hidden = shown > 0;
    find(".box").hidden = shown === 0;
  }

  search.addEventListener("input", filter);
  for (const box of boxes) box.addEventListener("change", filter);
  find("form").addEventListener("submit", (event) => event.preventDefault());

  // ---- Keys: from row to row, and out of what is open.

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input[type=search], select");
    if (event.key === "/" && !typing) {
      search.focus();
      search.select();
      event.preventDefault();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      filter();
    } else if (event.key === "ArrowDown" && event.target === search) {
      const first = lines()[0];
      if (first) first.button.focus();
      event.preventDefault();
    }
  });

  const lines = () => [...new Set([...body.children].map(rowOf))].filter((row) => row.shown);

  body.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rowOf(event.target.closest("tr"));
    if (event.key === "Escape") {
      toggle(row, false);
      row.button.focus();
    } else if (event.target === row.button) {
      const all = lines();
      const here = all.indexOf(row);
      const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      if (next < 0) search.focus();
      else if (next < all.length) all[next].button.focus();
    }
  });

  // ---- A link to a weight opens it.

  function follow() {
    const row = rows.find(({ place }) => location.hash === `#w${place}`);
    if (!row) return;
    if (!row.shown) {
      search.value = "";
      for (const box of boxes) box.checked = false;
      filter();
    }
    toggle(row, true);
    row.button.focus({ preventScroll: true });
    row.line.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", follow);
  for (const link of document.querySelectorAll(".verdict a")) {
    // A second click on it changes no address.
    link.addEventListener("click", () => location.hash === link.hash && follow());
  }

  // ---- What a row opens.

  const MORE = [
    ["trained", "train now"],
    ["slots_kept", "optimizer values kept"],
    ["slots_saved", "optimizer values saved"],
    ["optimizer_bytes_kept", "optimizer bytes kept"],
    ["optimizer_bytes_saved", "optimizer bytes saved"],
    ["delta_bytes", "delta bytes"],
    ["nonfinite", "NaN or infinite"],
  ];

  function detailOf(row) {
    const { weight } = row;
    const cell = make("td", { role: "cell", colspan: data.columns.length });
    if (weight.leaked) {
      const said = `${grouped(weight.leaked)} frozen ${weight.leaked === 1 ? "entry" : "entries"} moved`;
      cell.append(make("p", { class: "leaktext" }, `✕ ${said}, the first is `, make("bdi", {}, weight.first)));
    }
    if (weight.size) {
      cell.append(make("div", { class: "maps" }, ...figuresOf(weight)));
    } else cell.append(make("p", {}, "It has no entries."));
    const more = make("dl", { class: "more" });
    for (const [key, name] of MORE) {
      if (weight[key] === null || weight[key] === undefined) continue;
      const value = make("dd", { "data-key": key }, grouped(weight[key]));
      more.append(make("div", {}, make("dt", {}, name), value));
    }
    cell.append(more);
    const line = make("tr", { role: "row", class: weight.leaked ? "detail leaking" : "detail" }, cell);
    row.button.setAttribute("aria-controls", (line.id = `detail${row.place}`));
    return line;
  }

  // A table that fits in need not scroll in its box, and its head can stay in sight.
  const box = find(".box"), table = find("table");
  new ResizeObserver(() => box.classList.toggle("fits", table.scrollWidth <= box.clientWidth)).observe(box);

  filter();
  follow();
})();
