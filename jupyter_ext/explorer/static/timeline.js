// The timeline of one behavior on a canvas: bars of effects, the selection, the axis.

const MARGIN = { left: 62, right: 12, top: 18, bottom: 20 };
const PALE = 0.4; // bars of low trust

// Of the steps that share a pixel column, those with the extreme effects: what a screen could show of all of them.
function visibleSteps(effects, from, to, columns) {
  if (to - from <= columns) return Array.from({ length: to - from }, (_, k) => from + k);
  const high = new Int32Array(columns).fill(-1), low = new Int32Array(columns).fill(-1);
  for (let t = from; t < to; t++) {
    const value = effects[t];
    if (value !== value) continue;
    const column = Math.floor(((t - from) * columns) / (to - from));
    if (high[column] < 0 || value > effects[high[column]]) high[column] = t;
    if (low[column] < 0 || value < effects[low[column]]) low[column] = t;
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

class Timeline {
  constructor(canvas, data, behavior) {
    Object.assign(this, { canvas, data, behavior, effects: data.effects[behavior] });
  }

  // Which bars are drawn and how tall the axis is depends on the window alone, so a drag need not find them anew.
  layout(view, width, height) {
    const key = [view.from, view.to, width, height].join();
    if (this.key === key) return;
    this.key = key;
    const inner = Math.max(width - MARGIN.left - MARGIN.right, 50);
    this.steps = visibleSteps(this.effects, view.from, view.to, Math.ceil(inner));
    let low = 0, high = 0;
    for (const t of this.steps) {
      low = Math.min(low, this.effects[t] || 0);
      high = Math.max(high, this.effects[t] || 0);
    }
    const pad = (high - low || 1) * 0.05;
    this.scale = { low: low - (low < 0 ? pad : 0), high: high + (high > 0 || low === 0 ? pad : 0), inner, height };
    this.span = { from: view.from, to: view.to };
  }

  x(step) {
    return MARGIN.left + ((step - this.span.from) / (this.span.to - this.span.from)) * this.scale.inner;
  }

  y(value) {
    const { low, high, height } = this.scale;
    return MARGIN.top + ((high - value) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
  }

  stepAt(pixel) {
    const share = (pixel - MARGIN.left) / this.scale.inner;
    const step = this.span.from + share * (this.span.to - this.span.from);
    return Math.min(Math.max(Math.floor(step), this.span.from), this.span.to - 1);
  }

  draw(view, selection, kept, color) {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.layout(view, width, height);
    const pen = this.canvas.getContext('2d');
    const style = getComputedStyle(this.canvas);
    const ink = style.color, soft = style.getPropertyValue('--aadsl-soft').trim() || ink;
    const mark = style.getPropertyValue('--aadsl-mark').trim();
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${style.fontFamily}`;
    this.axes(pen, ink, soft);
    const partial = !selection.empty && (selection.start > 0 || selection.stop < this.data.length || selection.mask);
    if (view.start < view.stop) this.band(pen, selection, mark, 0.16);
    const bar = Math.max(this.scale.inner / (view.to - view.from) * 0.8, 1);
    const bottom = this.y(0), doubted = this.data.behaviors[this.behavior].trust === 'low';
    for (const t of this.steps) {
      const value = this.effects[t];
      if (value !== value) continue;
      const inside = t >= selection.start && t < selection.stop && (!selection.mask || selection.mask[t]);
      const full = partial && !inside ? 0.4 : 1, left = this.x(t + 0.5) - bar / 2, top = this.y(value);
      pen.globalAlpha = full * (doubted ? PALE : 1);
      pen.fillStyle = color(t);
      pen.fillRect(left, Math.min(top, bottom), bar, Math.max(Math.abs(bottom - top), 0.5));
      pen.globalAlpha = full;
      if (doubted) pen.fillRect(left, top - 1, bar, 2); // so that a pale bar can still be read
    }
    pen.globalAlpha = 1;
    this.line(pen, soft, MARGIN.left, bottom, MARGIN.left + this.scale.inner, bottom);
    for (const one of kept) this.bracket(pen, one, ink);
  }

  axes(pen, ink, soft) {
    const { inner, height, low, high } = this.scale;
    pen.fillStyle = ink;
    pen.textAlign = 'right';
    pen.textBaseline = 'middle';
    for (const tick of niceTicks(low, high, 4)) {
      pen.globalAlpha = 0.25;
      this.line(pen, soft, MARGIN.left, this.y(tick), MARGIN.left + inner, this.y(tick));
      pen.globalAlpha = 1;
      pen.fillText(number(Number(tick.toPrecision(6))), MARGIN.left - 6, this.y(tick));
    }
    pen.textAlign = 'center';
    pen.textBaseline = 'top';
    for (const tick of niceTicks(this.span.from, this.span.to - 1, Math.max(inner / 90, 2))) {
      if (Number.isInteger(tick)) pen.fillText(tick.toLocaleString('en'), this.x(tick + 0.5), height - MARGIN.bottom + 5);
    }
  }

  band(pen, selection, color, alpha) {
    const left = Math.max(this.x(selection.start), MARGIN.left);
    const right = Math.min(this.x(selection.stop), MARGIN.left + this.scale.inner);
    if (right <= left) return;
    pen.globalAlpha = alpha;
    pen.fillStyle = color;
    pen.fillRect(left, MARGIN.top, right - left, this.scale.height - MARGIN.top - MARGIN.bottom);
    pen.globalAlpha = 1;
    for (const edge of [left, right]) this.line(pen, color, edge, MARGIN.top, edge, this.scale.height - MARGIN.bottom);
  }

  bracket(pen, kept, ink) {
    const left = Math.max(this.x(kept.start), MARGIN.left);
    const right = Math.min(this.x(kept.stop), MARGIN.left + this.scale.inner);
    if (right <= left) return;
    this.line(pen, ink, left, MARGIN.top - 4, right, MARGIN.top - 4);
    pen.fillStyle = ink;
    pen.textAlign = 'left';
    pen.textBaseline = 'bottom';
    pen.fillText(kept.letter, left, MARGIN.top - 5);
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
