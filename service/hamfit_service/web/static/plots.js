// Plots: what the server says in data-plot, or at data-source, drawn by uPlot in the colours of the style sheet.
"use strict";

(() => {
  const HEIGHT = 210;
  const drawn = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const sign = (text) => text.replace("-", "\u2212");
  const raised = (number) => String(number).replace(/[-0-9]/g, (c) => c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c]);

  function power(value) {
    return "10" + raised(Math.round(Math.log10(value)));
  }

  function short(value) {
    if (value == null) return "";
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size >= 1e12 || size < 1e-3) {
      const [mantissa, exponent] = value.toExponential(1).split("e");
      return sign(mantissa.replace(".0", "")) + "\u00b710" + raised(Number(exponent));
    }
    for (const [step, prefix] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
      if (size >= step) return sign(String(+(value / step).toPrecision(3))) + prefix;
    }
    return sign(String(+value.toPrecision(3)));
  }

  function clock(seconds) {
    if (seconds < 120) return short(seconds) + " s";
    if (seconds < 7200) return short(seconds / 60) + " min";
    return short(seconds / 3600) + " h";
  }

  const axis = (options) => ({
    stroke: colour("--soft"), font: "12px " + colour("--font"), labelFont: "12px " + colour("--font"), labelSize: 18,
    grid: { stroke: colour("--faint"), width: 1 }, ticks: { stroke: colour("--faint"), width: 1, size: 4 },
    ...options,
  });

  const every = { x: { time: false } };
  const wide = (values) => Math.max(...values.map((text) => String(text ?? "").length), 2) * 7 + 14;
  const room = (plot, values) => values ? wide(values) : 40;

  function base(width) {
    return {
      width, height: HEIGHT, padding: [10, 12, 0, 0], legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    };
  }

  const line = (label, stroke, more) => ({ label, stroke, width: 1.75, points: { show: false }, ...more });

  // Each kind: from data to [options, columns].
  const kinds = {
    percent: (data) => [{
      scales: { ...every, y: { range: [0, 100] } },
      axes: [axis({ values: (plot, all) => all.map(clock), size: 34 }), axis({ values: (plot, all) => all.map((v) => v + " %"), size: room })],
      series: [{}, line("percent", colour("--blue"), { fill: colour("--wash"), width: 2 })],
    }, [data.seconds, data.percent]],

    rate: (data) => [{
      scales: { ...every, y: { range: (plot, low, high) => [0, (high || 1) * 1.08] } },
      axes: [axis({ values: (plot, all) => all.map(clock), size: 34 }), axis({ values: (plot, all) => all.map(short), size: room })],
      series: [{}, line(data.unit + " per second", colour("--blue"), { points: { show: data.rate.length < 40, size: 4 }, spanGaps: false })],
      title: data.unit + " per second",
    }, [data.seconds, data.rate]],

    points: (data) => {
      const known = data.values.map((value) => value > 0 ? value : null);
      const log = known.some((value) => value !== null);
      return [{
        scales: { x: { time: false, range: [-0.5, Math.max(known.length - 0.5, 0.5)] }, y: log ? decades(known) : {} },
        axes: [
          axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000], values: (plot, all) => all.map(short), size: 34 }),
          log ? powers() : axis({ values: (plot, all) => all.map(short), size: room }),
        ],
        series: [{}, { label: data.value, stroke: colour("--blue"), paths: () => null, points: { show: true, size: 6, fill: colour("--blue") } }],
      }, [known.map((_, place) => place), log ? known : data.values]];
    },

    lines: (data) => {
      const colours = ["--blue", "--orange", "--soft"].map(colour);
      const values = data.series.map((one) => one.values.map((value) => value > 0 ? value : null));
      return [{
        scales: { ...every, y: decades(values.flat()) },
        legend: { show: true, live: false },
        axes: [axis({ values: (plot, all) => all.map(short), size: 34 }), powers()],
        series: [{}, ...data.series.map((one, place) => line(one.label, colours[place]))],
      }, [data.x, ...values]];
    },

    bars: (data) => {
      const labels = data.labels;
      return [{
        height: 40 + 26 * labels.length,
        scales: {
          x: { time: false, ori: 1, dir: -1, range: [-0.6, labels.length - 0.4] },
          y: { ori: 0, dir: 1, range: (plot, low, high) => [0, (high || 1) * 1.15] },
        },
        cursor: { show: false },
        axes: [
          axis({ side: 3, splits: () => labels.map((_, place) => place), values: () => labels, size: wide(labels), grid: { show: false }, ticks: { show: false } }),
          axis({ side: 2, space: 70, values: (plot, all) => all.map(clock), size: 34 }),
        ],
        series: [{}, { label: data.value, fill: colour("--blue"), stroke: colour("--blue"), width: 0, paths: uPlot.paths.bars({ size: [0.6, 18] }), points: { show: false } }],
        hooks: { draw: [(plot) => labelBars(plot, data)] },
      }, [labels.map((_, place) => place), data.values]];
    },
  };

  // few powers of ten, and no lines between them
  function powers() {
    const filter = (plot, all) => {
      const whole = all.filter(isPower);
      const step = Math.ceil(whole.length / 6);
      return all.map((value) => isPower(value) && Math.round(Math.log10(value / whole[0])) % step === 0 ? value : null);
    };
    const values = (plot, all) => all.map((value) => value == null ? "" : power(value));
    return axis({
      filter, values, size: 46,
      grid: { stroke: colour("--faint"), width: 1, filter }, ticks: { stroke: colour("--faint"), width: 1, size: 4, filter },
    });
  }

  function isPower(value) {
    return value > 0 && Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6;
  }

  // whole decades, at least two of them, so that a tick is always in sight
  function decades(values) {
    const logs = values.filter((value) => value > 0).map(Math.log10);
    if (!logs.length) return { distr: 3, log: 10, range: [0.1, 1] };
    const low = Math.floor(Math.min(...logs) - 0.01);
    const high = Math.max(Math.ceil(Math.max(...logs) + 0.01), low + 2);
    return { distr: 3, log: 10, range: [10 ** low, 10 ** high] };
  }

  function labelBars(plot, data) {
    const pen = plot.ctx;
    pen.save();
    pen.fillStyle = colour("--soft");
    pen.font = `${12 * devicePixelRatio}px ${colour("--font")}`;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    data.values.forEach((value, place) => {
      pen.fillText(clock(value), plot.valToPos(value, "y", true) + 6 * devicePixelRatio, plot.valToPos(place, "x", true));
    });
    pen.restore();
  }

  function measured(values) {
    return values.length > 1 && values.some((value) => value > 0);
  }

  function draw(box, kind, data, anew) {
    const width = Math.max(box.clientWidth, 200);
    const empty = !data || (data.seconds !== undefined && !measured(data[kind]));
    const before = drawn.get(box);
    const caption = box.closest("figure")?.querySelector("figcaption");
    box.classList.toggle("nothing", empty);
    if (!empty && before && !anew) {
      // the cursor stays where it is
      before.setData(kinds[kind](data)[1]);
      return;
    }
    before?.destroy();
    drawn.delete(box);
    if (empty) return;
    const [options, columns] = kinds[kind](data);
    const { title, ...rest } = options;
    const plot = new uPlot({ ...base(width), ...rest }, columns, box);
    if (title && caption) caption.textContent = `Speed, ${title}`;
    const canvas = plot.root.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", caption?.textContent ?? "Plot");
    drawn.set(box, plot);
  }

  const known = new Map();
  let asked = 0;

  async function refresh() {
    const boxes = document.querySelectorAll("[data-progress]");
    if (!boxes.length) return;
    const turn = ++asked;
    let data;
    try {
      const answer = await fetch(boxes[0].dataset.source, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      data = await answer.json();
    } catch {
      return; // away: the next turn asks again
    }
    if (turn !== asked) return; // a later answer counts
    for (const box of boxes) {
      draw(box, box.dataset.progress, data, known.get(box)?.unit !== data.unit);
      known.set(box, data);
    }
  }

  function drawStatic(root) {
    for (const box of root.querySelectorAll("[data-plot]")) {
      const spec = JSON.parse(box.dataset.plot);
      known.set(box, spec);
      draw(box, spec.kind, spec, true);
    }
  }

  function redraw() {
    for (const box of [...drawn.keys()]) {
      if (!box.isConnected) {
        drawn.get(box).destroy();
        drawn.delete(box);
        known.delete(box);
      } else {
        draw(box, box.dataset.progress ?? known.get(box).kind, known.get(box), true);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => { drawStatic(document); refresh(); });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.elt.querySelectorAll) drawStatic(event.detail.elt);
    if (event.detail.elt.id === "live") refresh();
  });
  let waiting;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 120); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
