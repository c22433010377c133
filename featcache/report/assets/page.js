// Draws the charts, in the palette of the moment; sorts tables; copies commands. Reads nothing but this page.
(() => {
  "use strict";
  const palettes = {
    light: {
      "@ink": "#1b1f24", "@muted": "#56606a", "@axis": "#9aa3ad", "@grid": "#e8eaed",
      "@validation": "#0b5cad", "@train": "#b5480b",
      ramp: ["#eef4fb", "#c6dbef", "#85b7dd", "#3a86c0", "#0b559f", "#083471"],
    },
    dark: {
      "@ink": "#e6eaee", "@muted": "#9ca8b4", "@axis": "#5d6874", "@grid": "#28303a",
      "@validation": "#82bbff", "@train": "#ffab70",
      ramp: ["#1d2a38", "#1f4366", "#2a6aa3", "#4b94d2", "#8cc0ee", "#d9ebff"],
    },
  };
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();

  // Words that begin with @ become colours; what the user wrote stands under these names and is left alone.
  const theirs = new Set(["values", "domain"]);
  const painted = (part, palette) => {
    if (typeof part === "string") return palette[part] ?? part;
    if (Array.isArray(part)) return part.map((one) => painted(one, palette));
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(
      Object.entries(part).map(([name, one]) => [name, theirs.has(name) ? one : painted(one, palette)]),
    );
  };

  const config = (palette, width) => ({
    background: null,
    font: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
    view: { stroke: null },
    axis: {
      labelColor: palette["@muted"], titleColor: palette["@muted"], gridColor: palette["@grid"],
      domainColor: palette["@axis"], tickColor: palette["@axis"], labelFontSize: 12, titleFontSize: 12,
      titleFontWeight: 400, titlePadding: 8, labelLimit: width < 480 ? 152 : 280,
    },
    axisY: { labelColor: palette["@ink"] },
    legend: { labelColor: palette["@ink"], titleColor: palette["@muted"], labelFontSize: 12, titleFontSize: 12,
              titleFontWeight: 400, labelLimit: 240 },
    text: { color: palette["@ink"] },
    range: { ramp: palette.ramp },
  });

  // Values under the pointer, as text and never as markup, inside of the window however narrow it is.
  const hint = document.createElement("table");
  hint.id = "hint";
  hint.setAttribute("aria-hidden", "true");  // the tables below the charts say the same
  document.body.append(hint);
  const point = (handler, event, item, value) => {
    hint.classList.toggle("shown", Boolean(value) && typeof value === "object");
    if (!hint.classList.contains("shown")) return;
    hint.replaceChildren(...Object.entries(value).filter(([, one]) => one !== "null" && one !== null).map((pair) => {
      const row = document.createElement("tr");
      row.append(...pair.map((one) => {
        const cell = document.createElement("td");
        cell.textContent = one;
        return cell;
      }));
      return row;
    }));
    const { width, height } = hint.getBoundingClientRect();
    const below = event.clientY + 16 + height < innerHeight ? event.clientY + 16 : event.clientY - 12 - height;
    hint.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    hint.style.top = `${Math.max(8, below)}px`;
  };

  const draw = async (place) => {
    const palette = scheme.matches ? palettes.dark : palettes.light;
    const spec = painted(JSON.parse(place.closest("figure").querySelector("script").textContent), palette);
    drawn.get(place)?.finalize();
    const result = await vegaEmbed(place, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip: point,
      config: config(palette, place.clientWidth),
    });
    drawn.set(place, result);
  };

  // One after the other, so that the first are seen while the last are drawn. Folded charts wait until they are shown.
  let queue = Promise.resolve();
  const drawShown = (root, again = false) => {
    document.documentElement.removeAttribute("data-drawn");
    const places = [...root.querySelectorAll(".chart")].filter(
      (place) => (again ? drawn.has(place) : !drawn.has(place)) && !place.closest("details:not([open])"),
    );
    for (const place of places) if (!drawn.has(place)) drawn.set(place, null);
    queue = queue.then(async () => {
      for (const place of places) {
        await draw(place);
        await new Promise((next) => setTimeout(next));
      }
      document.documentElement.setAttribute("data-drawn", String([...drawn.values()].filter(Boolean).length));
    });
  };

  document.addEventListener("toggle", (event) => event.target.open && drawShown(event.target), true);
  scheme.addEventListener("change", () => drawShown(document, true));
  let narrow = innerWidth < 560;
  addEventListener("resize", () => {
    if (innerWidth < 560 !== narrow) { narrow = !narrow; drawShown(document, true); }  // names get more or less room
    drawShown(document);
  });

  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", openTarget);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy !== undefined) {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    }
    const head = button.closest("th");
    if (head) sort(head);
  });

  const sort = (head) => {
    const table = head.closest("table"), column = [...head.parentElement.children].indexOf(head);
    const numeric = head.classList.contains("number");
    const first = numeric ? "descending" : "ascending", second = numeric ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const one of head.parentElement.children) if (one.hasAttribute("aria-sort")) one.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent.trim();
    const compare = (one, other) => {
      const [mine, theirs] = [value(one), value(other)];
      if (!numeric) return sign * mine.localeCompare(theirs, undefined, { numeric: true });
      if (mine === "" || theirs === "") return (mine === "") - (theirs === "");  // what is not known comes last
      return sign * (Number(mine) - Number(theirs));
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  };

  openTarget();
  drawShown(document);
})();
