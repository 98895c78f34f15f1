"use strict";
(() => {
  const plots = [...document.querySelectorAll(".plot")];
  // A finger that zooms a chart could not scroll past it.
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
  };
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();

  // The colours of everything but the data, as the page has them now.
  function painted(layout) {
    const lines = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line") };
    const axes = Object.keys(layout).filter((key) => /^[xy]axis/.test(key));
    return {
      ...layout,
      ...Object.fromEntries(axes.map((key) => [key, { ...lines, ...layout[key] }])),
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: colour("--ink") },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink") },
      dragmode: touch ? false : "zoom",
      autosize: true,
    };
  }

  function draw(place) {
    const figure = JSON.parse(place.nextElementSibling.textContent);
    Plotly.react(place, figure.data, painted(figure.layout), config);
  }

  // Paper is white and narrow, whatever the screen was.
  function onPaper(on) {
    document.documentElement.classList.toggle("print", on);
    for (const place of plots) {
      draw(place);
      Plotly.relayout(place, { autosize: true });
    }
  }

  function sort(table, column, rising) {
    const value = (row) => {
      const cell = row.cells[column];
      if (!cell.classList.contains("number") && !cell.classList.contains("bar")) return cell.textContent;
      return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const [left, right] = [value(a), value(b)];
      // What was not measured comes last, whichever way the rest is sorted.
      if (left === null || right === null) return (left === null) - (right === null);
      const order = typeof left === "string" ? left.localeCompare(right, undefined, { numeric: true }) : left - right;
      return rising ? order : -order;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        sort(table, column, rising);
      });
    });
  }

  // A chart is drawn when it comes near the screen: drawing all at once would hold up the first.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((seen) => seen.isIntersecting)) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "600px" },
  );
  plots.forEach((place) => watcher.observe(place));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    plots.filter((place) => place.data).forEach(draw);
  });
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
})();
