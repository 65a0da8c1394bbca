"use strict";

// The table is complete without this script, which folds, sorts, searches and filters it, and opens
// its weights to their maps. It reads only the data in the page.
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
  const table = find("table"), body = find("tbody"), all = find("button.all");
  document.documentElement.classList.add("js");

  // ---- The lines: a button in each opens a weight to its maps, or a fold to the lines in it.

  const lineOf = (element) => {
    const button = make("button", { type: "button", class: "open", "aria-expanded": "false" });
    const head = find("th", element);
    button.append(make("span", {}, ...head.childNodes));
    head.append(button);
    const line = { element, button, open: false };
    element.addEventListener("click", (event) => {
      // Selecting a number to copy it does not open the line.
      if (!event.target.closest("a") && !String(getSelection())) toggle(line);
    });
    return line;
  };
  const titles = [...document.querySelectorAll("tbody .title")];
  const inOrder = [...body.children];
  const folds = [...document.querySelectorAll("tbody .fold")].map(lineOf);
  const rows = data.weights.map((weight, place) => {
    const text = [weight.path, weight.dtype, weight.kind, `(${weight.shape.join(", ")})`].join(" ").toLowerCase();
    const line = lineOf(document.getElementById(`w${place}`));
    return Object.assign(line, { weight, place, text, detail: null, matches: true });
  });
  const known = new Map([...folds, ...rows].map((line) => [line.element.id, line]));
  const lineFrom = (element) => known.get(element.id.replace("detail", "w"));
  for (const line of known.values()) line.fold = known.get(line.element.dataset.in) ?? null;
  for (const fold of folds) setOpen(fold, "open" in fold.element.dataset);

  function setOpen(line, open) {
    line.open = open;
    line.button.setAttribute("aria-expanded", String(open));
  }

  function toggle(line, open = !line.open) {
    if (open && line.detail === null) {
      line.detail = detailOf(line);
      line.element.after(line.detail);
    }
    setOpen(line, open);
    show();
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
  turn.hidden = true;

  function sortBy(key, down) {
    Object.assign(order, { key, down });
    show();
    data.columns.forEach((column, place) => {
      const sort = column.key !== key ? "none" : down ? "descending" : "ascending";
      heads[place].setAttribute("aria-sort", sort);
    });
    select.value = key ?? "";
    turn.hidden = key === null;
    turn.textContent = down ? "↓" : "↑";
  }

  data.columns.forEach((column, place) => {
    const head = heads[place];
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    // Numbers begin with the largest, names with the first.
    button.addEventListener("click", () => {
      sortBy(column.key, order.key === column.key ? !order.down : !column.text);
    });
  });
  select.append(make("option", { value: "" }, "layer"));
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

  // In the order of the layers the weights are in folds. Any other order, a search or a filter lists
  // the weights that match, one by one.
  let flat = null;

  function show() {
    const filtered = search.value.trim() !== "" || boxes.some((box) => box.checked);
    const wanted = filtered || order.key !== null ? `${order.key} ${order.down}` : "";
    if (wanted !== flat) arrange((flat = wanted));
    const opened = (fold) => fold === null || (fold.open && opened(fold.fold));
    for (const title of titles) title.hidden = flat !== "";
    for (const fold of folds) fold.element.hidden = flat !== "" || !opened(fold.fold);
    for (const row of rows) {
      row.element.hidden = !row.matches || (flat === "" && !opened(row.fold));
      if (row.detail !== null) row.detail.hidden = row.element.hidden || !row.open;
    }
  }

  function arrange() {
    table.classList.toggle("flat", flat !== "");
    all.hidden = flat !== "" || folds.length === 0;
    const { key, down } = order;
    const sorted = [...rows];
    if (key !== null) {
      sorted.sort((one, other) => {
        const found = compare(one.weight[key], other.weight[key]);
        return (down ? -found : found) || one.place - other.place;
      });
    }
    const elements = flat === "" ? inOrder : sorted.map(({ element }) => element);
    const lines = document.createDocumentFragment();
    for (const element of elements) {
      const detail = lineFrom(element)?.detail;
      lines.append(element, ...(detail ? [detail] : []));
    }
    body.append(lines);
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = boxes.filter((box) => box.checked).map((box) => tests[box.name]);
    let count = 0;
    for (const row of rows) {
      row.matches = words.every((word) => row.text.includes(word)) && asked.every((test) => test(row.weight));
      count += row.matches;
    }
    show();
    const whole = counted(rows.length, "weight");
    find(".count").textContent = count === rows.length ? whole : `${grouped(count)} of ${whole}`;
    find(".empty").hidden = count > 0;
    find(".box").hidden = count === 0;
  }

  all.addEventListener("click", () => {
    const open = folds.some((fold) => !fold.open);
    for (const fold of folds) setOpen(fold, open);
    all.textContent = open ? "Close all" : "Open all";
    show();
  });
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

  const lines = () => [...new Set([...body.children].map(lineFrom))].filter((line) => line && !line.element.hidden);

  body.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const line = lineFrom(event.target.closest("tr"));
    if (event.key === "Escape") {
      // A closed line closes the fold around it.
      const closing = line.open || line.fold === null || flat !== "" ? line : line.fold;
      toggle(closing, false);
      closing.button.focus();
    } else if (event.target === line.button) {
      const all = lines();
      const here = all.indexOf(line);
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
    if (!row.matches) {
      search.value = "";
      for (const box of boxes) box.checked = false;
      filter();
    }
    for (let { fold } = row; fold; fold = fold.fold) setOpen(fold, true);
    toggle(row, true);
    row.button.focus({ preventScroll: true });
    row.element.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", follow);
  for (const link of document.querySelectorAll(".verdict a")) {
    // A second click does not change the address.
    link.addEventListener("click", () => location.hash === link.hash && follow());
  }

  // ---- What a row opens.

  const MORE = [
    ["trained", "entries that train now"],
    ["slots_kept", "slots kept"],
    ["slots_saved", "slots saved"],
    ["optimizer_bytes_kept", "bytes of optimizer state kept"],
    ["optimizer_bytes_saved", "bytes of optimizer state saved"],
    ["delta_bytes", "bytes in a delta file"],
    ["nonfinite", "NaN or infinite"],
  ];

  function detailOf(row) {
    const { weight } = row;
    const cell = make("td", { role: "cell", colspan: data.columns.length });
    if (weight.leaked) {
      const said = `${grouped(weight.leaked)} frozen ${weight.leaked === 1 ? "entry" : "entries"} moved`;
      cell.append(make("p", { class: "leaktext" }, `✕ ${said}, the first is `, make("bdi", {}, weight.first)));
    }
    cell.append(make("p", { class: "whole" }, make("code", {}, make("bdi", {}, weight.path))));
    if (weight.size) {
      cell.append(make("div", { class: "maps" }, ...figuresOf(weight)));
      cell.append(...[...find(".legend").querySelectorAll("ul")].map((list) => list.cloneNode(true)));
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

  // A table that fits need not scroll in its box, and its head stays in sight.
  const box = find(".box");
  new ResizeObserver(() => box.classList.toggle("fits", table.scrollWidth <= box.clientWidth)).observe(box);

  filter();
  follow();
})();
