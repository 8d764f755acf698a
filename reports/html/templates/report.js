"use strict";
// Draws the pictures in the page's colours and makes the big table sortable. Without it every table is there.
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);

  // "var:--name" anywhere in a figure is the present value of that CSS variable.
  const filled = (value, style) => {
    if (typeof value === "string") {
      return value.startsWith("var:--") ? style.getPropertyValue(value.slice(4)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => filled(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item, style)]));
    }
    return value;
  };

  const draw = () => {
    const style = getComputedStyle(root);
    for (const place of document.querySelectorAll(".chart")) {
      const figure = filled(figures[place.dataset.figure], style);
      const axis = figure.layout.xaxis;
      // A phone has no room for every tick's words.
      if (axis.tickvals && place.clientWidth < 420) {
        const kept = (_, index) => index % 2 === 0;
        axis.tickvals = axis.tickvals.filter(kept);
        axis.ticktext = axis.ticktext.filter(kept);
      }
      Plotly.react(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
    }
  };

  if (window.Plotly) {
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  // Paper is white, and a closed section cannot be opened on it.
  let opened = [];
  addEventListener("beforeprint", () => {
    root.dataset.scheme = "light";
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const section of opened) section.open = true;
    if (window.Plotly) draw();
  });
  addEventListener("afterprint", () => {
    delete root.dataset.scheme;
    for (const section of opened) section.open = false;
    if (window.Plotly) draw();
  });

  // Numbers by value, text by its letters; what has no value stays at the end either way.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell.classList.contains("number")) return cell.textContent.trim();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({ row, place, key: key(row, column) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      const order = typeof a.key === "number" ? a.key - b.key : a.key.localeCompare(b.key);
      return order * direction || a.place - b.place;
    });
    body.append(...rows.map((item) => item.row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("fixed")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const upwards = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
        sort(table, column, upwards ? 1 : -1);
      });
    });
  }
})();
