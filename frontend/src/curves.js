// Curves over distance or time that share one cursor.
import uPlot from "uplot";

const HEIGHT = 92;
const GUTTER = 46;

const twoDigits = (number) => String(number).padStart(2, "0");

export function clock(seconds) {
  const total = Math.round(seconds);
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60)];
  return hours ? `${hours}:${twoDigits(minutes)}:${twoDigits(total % 60)}` : `${minutes}:${twoDigits(total % 60)}`;
}

const format = {
  time: clock,
  distance: (value, unit) => `${value.toFixed(2)} ${unit}`,
  number: (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
};

function valueText(curve, value) {
  if (value === null || value === undefined) return "–";
  return `${curve.pace ? clock(value) : format.number(value, curve.digits)} ${curve.unit}`;
}

// Clip extreme values: a short stop, drawn in full, would flatten the rest of the curve.
function range(curve, low, high) {
  if (low === null || !(curve.pace || curve.name === "cadence")) return pad(low, high);
  const sorted = curve.values.filter((value) => value !== null).sort((a, b) => a - b);
  const quantile = (share) => sorted[Math.floor((sorted.length - 1) * share)];
  return curve.pace ? pad(low, Math.min(high, quantile(0.96))) : pad(Math.max(low, quantile(0.04)), high);
}

function pad(low, high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low || Math.abs(high) * 0.1 || 1) * 0.08;
  return [low - margin, high + margin];
}

export function drawCurves(box, plot, onMove) {
  const position = box.querySelector(".where");
  const choice = box.querySelector(".choice");
  const scrub = box.querySelector(".scrub");
  const figures = plot.curves.map(({ name }) => box.querySelector(`[data-channel="${name}"]`));
  const outputs = figures.map((figure) => figure.querySelector("output"));
  const holders = figures.map((figure) => figure.querySelector(".plot"));
  const hint = "Move along a curve to see the place.";
  const axes = Object.keys(plot.axes);
  const samples = plot.curves[0].values.length;
  let axis = axes.includes("distance") ? "distance" : (axes[0] ?? null);
  let shown = null;
  let charts = [];

  const xValues = () => (axis ? plot.axes[axis].values : plot.curves[0].values.map((_, index) => index));

  function show(index) {
    if (index === shown) return;
    shown = index;
    onMove(index);
    const positions = index === null ? [] : axes.map((name) => format[name](plot.axes[name].values[index], plot.axes[name].unit));
    position.textContent = positions.join(" · ") || hint;
    outputs.forEach((output, n) => (output.textContent = index === null ? "" : valueText(plot.curves[n], plot.curves[n].values[index])));
    if (index === null) return;
    scrub.value = index;
    scrub.setAttribute("aria-valuetext", [...positions, ...plot.curves.map((curve) => `${curve.label} ${valueText(curve, curve.values[index])}`)].join(", "));
  }

  function options(curve, figure, width, last) {
    const ink = () => getComputedStyle(figure).color;
    const quiet = () => getComputedStyle(figure.querySelector(".quiet")).color;
    const line = () => getComputedStyle(figure.querySelector(".plot")).borderTopColor;
    const font = "12px system-ui, sans-serif";
    return {
      width,
      height: HEIGHT + (last ? 22 : 0),
      padding: [6, 8, last ? 0 : 6, 0],
      legend: { show: false },
      scales: {
        x: { time: false },
        y: { dir: curve.pace ? -1 : 1, range: (_, low, high) => range(curve, low, high) },
      },
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { x: true, y: false },
        sync: { key: "activity", setSeries: false },
      },
      series: [
        {},
        { stroke: ink, width: 1.5, points: { show: false }, spanGaps: false, fill: curve.pace ? undefined : () => fade(ink()) },
      ],
      axes: [
        {
          show: last,
          size: 22,
          font,
          stroke: quiet,
          gap: 2,
          grid: { stroke: line, width: 1 },
          ticks: { show: false },
          space: 64,
          incrs: axis === "time" ? [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000] : undefined,
          values: (_, ticks) => ticks.map((tick) => (axis === "time" ? clock(tick) : `${+tick.toFixed(2)} ${axis ? plot.axes[axis].unit : ""}`)),
        },
        {
          size: GUTTER,
          font,
          stroke: quiet,
          gap: 4,
          grid: { stroke: line, width: 1 },
          ticks: { show: false },
          space: 28,
          incrs: curve.pace ? [5, 10, 15, 30, 60, 120, 300, 600] : undefined,
          values: (_, ticks) => ticks.map((tick) => (curve.pace ? clock(tick) : format.number(tick, tick % 1 ? 1 : 0))),
        },
      ],
      hooks: { setCursor: [({ cursor }) => show(cursor.left < 0 ? null : cursor.idx)] },
    };
  }

  function drawAll() {
    clear();
    charts = plot.curves.map((curve, n) => {
      const holder = holders[n];
      const width = holder.clientWidth;
      const chart = new uPlot(options(curve, figures[n], width, n === plot.curves.length - 1), [xValues(), curve.values], holder);
      followTouch(chart);
      return chart;
    });
  }

  // A horizontal swipe moves the cursor; a vertical one scrolls the page.
  function followTouch(chart) {
    chart.over.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") return;
      const { left, top } = chart.over.getBoundingClientRect();
      chart.setCursor({ left: event.clientX - left, top: event.clientY - top }, true, true);
    });
  }

  function moveToScrubber() {
    const [chart] = charts;
    const index = Number(scrub.value);
    chart.setCursor({ left: chart.valToPos(xValues()[index], "x"), top: 10 }, true, true);
    show(index);
  }

  function chooseAxis(event) {
    const button = event.target.closest("[data-axis]");
    if (!button) return;
    axis = button.dataset.axis;
    for (const option of choice.querySelectorAll("button")) option.setAttribute("aria-pressed", String(option === button));
    drawAll();
  }

  function clear() {
    for (const chart of charts) chart.destroy();
    charts = [];
  }

  const redraw = () => charts.forEach((chart) => chart.redraw(false));
  const theme = new MutationObserver(redraw);
  theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", redraw);
  // Only if the width changed: a redrawn curve loses its cursor.
  const fit = (chart, n) => {
    const width = holders[n].clientWidth;
    if (width && width !== chart.width) chart.setSize({ width, height: chart.height });
  };
  const resized = new ResizeObserver(() => charts.forEach(fit));

  drawAll();
  position.textContent = hint;
  resized.observe(box);
  scrub.max = samples - 1;
  scrub.hidden = false;
  scrub.addEventListener("input", moveToScrubber);
  if (choice) {
    choice.hidden = false;
    choice.addEventListener("click", chooseAxis);
  }

  return {
    clear() {
      clear();
      resized.disconnect();
      theme.disconnect();
      dark.removeEventListener("change", redraw);
      scrub.removeEventListener("input", moveToScrubber);
      choice?.removeEventListener("click", chooseAxis);
    },
  };
}

function fade(color) {
  const parts = color.match(/[\d.]+/g);
  return color.startsWith("rgb") && parts ? `rgb(${parts.slice(0, 3).join(" ")} / 0.1)` : "transparent";
}
