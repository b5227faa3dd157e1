// What canvases over the steps of the run have in common: their size, the axis, the selection.

const MARGIN = { left: 62, right: 12, top: 18, bottom: 20 };
const LETTERS = 12; // pixels that a number at the axis takes in height

// Of the steps that share a pixel column, those with the extreme values: what a screen could show of all of them.
function visibleSteps(values, from, to, columns) {
  if (to - from <= columns) return Array.from({ length: to - from }, (_, k) => from + k);
  const high = new Int32Array(columns).fill(-1), low = new Int32Array(columns).fill(-1);
  for (let t = from; t < to; t++) {
    const value = values[t];
    if (value !== value) continue;
    const column = Math.floor(((t - from) * columns) / (to - from));
    if (high[column] < 0 || value > values[high[column]]) high[column] = t;
    if (low[column] < 0 || value < values[low[column]]) low[column] = t;
  }
  return [...high, ...low].filter(t => t >= 0);
}

function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(k => k * power).find(k => k >= raw * 0.999);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) ticks.push(value);
  return ticks.map(value => (Math.abs(value) < step * 1e-6 ? 0 : value));
}

class StepCanvas {
  // Where a few values would hide the others, `squeezed` says how: {constant, ticks}.
  constructor(canvas, data, values, margin = MARGIN, squeezed = null) {
    Object.assign(this, { canvas, data, values, margin, squeezed });
  }

  // Make ready to draw the window from ≤ step < to; return the pen and the inks, or nothing while there is no place.
  begin({ from, to }) {
    const { canvas } = this, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return null;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.layout({ from, to }, width, height);
    const pen = canvas.getContext('2d'), style = getComputedStyle(canvas);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${style.fontFamily}`;
    const [ink, soft, mark] = ['ink', 'soft', 'mark'].map(name => style.getPropertyValue(`--aadsl-${name}`).trim());
    return { pen, ink, soft, mark };
  }

  // What is drawn and how tall the axis is depends on the window alone, so a drag need not find it anew.
  layout({ from, to }, width, height) {
    const key = [from, to, width, height].join();
    if (this.key === key) return;
    this.key = key;
    const inner = Math.max(width - this.margin.left - this.margin.right, 50);
    this.steps = visibleSteps(this.values, from, to, Math.ceil(inner));
    this.span = { from, to };
    this.scale = { ...this.bounds(), inner, height };
  }

  // The ends of the axis of values: those of what is drawn, and zero.
  bounds() {
    let low = 0, high = 0;
    for (const t of this.steps) {
      low = Math.min(low, this.values[t] || 0);
      high = Math.max(high, this.values[t] || 0);
    }
    if (this.squeezed) return { low: low * 1.3, high: high * 1.3 };
    const pad = (high - low || 1) * 0.05;
    return { low: low - (low < 0 ? pad : 0), high: high + (high > 0 || low === 0 ? pad : 0) };
  }

  x(step) {
    return this.margin.left + ((step - this.span.from) / (this.span.to - this.span.from)) * this.scale.inner;
  }

  y(value) {
    const { low, high, height } = this.scale, top = this.length(high);
    const share = (top - this.length(value)) / (top - this.length(low));
    return this.margin.top + share * (height - this.margin.top - this.margin.bottom);
  }

  // How far from zero a value is drawn, in some unit: even, or logarithmic away from zero.
  length(value) {
    return this.squeezed ? Math.sign(value) * Math.log1p(Math.abs(value) / this.squeezed.constant) : value;
  }

  ticks(count) {
    const { low, high } = this.scale, own = (this.squeezed?.ticks ?? []).filter(tick => low <= tick && tick <= high);
    return own.length > 1 ? own : niceTicks(low, high, count); // of a near view none may be left
  }

  stepAt(pixel) {
    const share = (pixel - this.margin.left) / this.scale.inner;
    const step = this.span.from + share * (this.span.to - this.span.from);
    return Math.min(Math.max(Math.floor(step), this.span.from), this.span.to - 1);
  }

  // Return the pixels from `start` to `stop` that are to be seen; nothing where none are.
  stretch(start, stop) {
    const left = Math.max(this.x(start), this.margin.left);
    const right = Math.min(this.x(stop), this.margin.left + this.scale.inner);
    return right > left ? [left, right] : null;
  }

  band(pen, start, stop, color, alpha) {
    const seen = this.stretch(start, stop), { top, bottom } = this.margin;
    if (!seen) return;
    const height = this.scale.height - bottom;
    pen.globalAlpha = alpha;
    pen.fillStyle = color;
    pen.fillRect(seen[0], top, seen[1] - seen[0], height - top);
    pen.globalAlpha = 1;
    for (const edge of seen) this.line(pen, color, edge, top, edge, height);
  }

  // Numbers at the left, with faint lines across.
  valuesAxis(pen, ink, soft, count) {
    const { inner } = this.scale, { left } = this.margin;
    pen.fillStyle = ink;
    pen.textAlign = 'right';
    pen.textBaseline = 'middle';
    const written = []; // from zero outward: of numbers that would cover each other, the one nearer to it
    for (const tick of [...this.ticks(count)].sort((a, b) => Math.abs(a) - Math.abs(b))) {
      const y = this.y(tick);
      pen.globalAlpha = 0.25;
      this.line(pen, soft, left, y, left + inner, y);
      pen.globalAlpha = 1;
      if (written.some(other => Math.abs(other - y) < LETTERS)) continue;
      pen.fillText(number(Number(tick.toPrecision(6))), left - 6, y);
      written.push(y);
    }
  }

  stepsAxis(pen, ink) {
    const { inner, height } = this.scale;
    pen.fillStyle = ink;
    pen.textAlign = 'center';
    pen.textBaseline = 'top';
    for (const tick of niceTicks(this.span.from, this.span.to - 1, Math.max(inner / 90, 2))) {
      if (Number.isInteger(tick)) pen.fillText(tick.toLocaleString('en'), this.x(tick + 0.5), height - this.margin.bottom + 5);
    }
  }

  line(pen, color, x0, y0, x1, y1) {
    pen.strokeStyle = color;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
    pen.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
    pen.stroke();
  }
}
