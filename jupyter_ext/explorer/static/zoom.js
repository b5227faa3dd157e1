// Zooming by the wheel: with Ctrl, or once the canvas has the focus, so that a page can still be scrolled past it.

const CLOSEST = 4; // steps that a window holds at least

function wheel(timeline, getView, zoom) {
  const { canvas, data } = timeline;
  canvas.addEventListener('wheel', event => {
    if (!(event.ctrlKey || event.metaKey || canvas === document.activeElement)) return;
    const { from, to } = getView(), width = to - from;
    const along = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(along) > Math.abs(event.deltaY) || event.shiftKey) {
      const by = Math.sign(along) * Math.max(Math.round(width / 20), 1);
      const start = Math.min(Math.max(from + by, 0), data.length - width);
      zoom(start, start + width);
    } else {
      const around = timeline.stepAt(event.clientX - canvas.getBoundingClientRect().left);
      zoom(...zoomed(from, to, around, event.deltaY > 0 ? 1.25 : 0.8, data.length));
    }
    event.preventDefault();
  }, { passive: false });
  canvas.addEventListener('keydown', event => {
    const { from, to, start, stop } = getView(), factor = { '+': 0.8, '=': 0.8, '-': 1.25 }[event.key];
    if (!factor) return;
    const middle = start < stop ? Math.round((start + stop) / 2) : Math.round((from + to) / 2);
    zoom(...zoomed(from, to, Math.min(Math.max(middle, from), to - 1), factor, data.length));
    event.preventDefault();
  });
}

// A window `factor` times as wide in which the step `around` keeps its place.
function zoomed(from, to, around, factor, length) {
  const wider = factor > 1 ? Math.max(Math.round((to - from) * factor), to - from + 1) : Math.round((to - from) * factor);
  const width = Math.min(Math.max(wider, Math.min(CLOSEST, length)), length);
  const share = (around - from) / (to - from);
  const start = Math.min(Math.max(Math.round(around - share * width), 0), length - width);
  return [start, start + width];
}
