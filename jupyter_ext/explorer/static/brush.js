// Selecting steps by hand: drag with the pointer, or the arrow keys.

const GRAB = 6; // pixels around an edge in which a drag moves that edge

// `change(start, stop)` is called while the selection moves.
function brush(timeline, getView, change) {
  const { canvas } = timeline;
  let drag = null;
  const at = event => event.clientX - canvas.getBoundingClientRect().left;

  canvas.addEventListener('pointerdown', event => {
    const view = getView(), pixel = at(event), step = timeline.stepAt(pixel);
    const partial = view.start < view.stop && (view.start > 0 || view.stop < timeline.data.length);
    const left = timeline.x(view.start), right = timeline.x(view.stop);
    if (partial && Math.abs(pixel - left) < GRAB) drag = { fixed: view.stop };
    else if (partial && Math.abs(pixel - right) < GRAB) drag = { fixed: view.start };
    else if (partial && pixel > left && pixel < right) drag = { offset: step - view.start, width: view.stop - view.start };
    else drag = { fixed: step, fresh: true };
    drag.moved = false;
    drag.step = step;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', event => {
    if (!drag) return;
    const step = timeline.stepAt(at(event));
    if (!drag.moved && step === drag.step) return;
    drag.moved = true;
    if (drag.offset !== undefined) {
      const start = Math.min(Math.max(step - drag.offset, 0), timeline.data.length - drag.width);
      change(start, start + drag.width);
    } else if (drag.fresh) change(Math.min(drag.fixed, step), Math.max(drag.fixed, step) + 1);
    else change(Math.min(drag.fixed, step), Math.max(drag.fixed, step + 1));
  });
  canvas.addEventListener('pointerup', () => {
    if (drag && !drag.moved) change(drag.step, drag.step + 1);
    drag = null;
  });
  canvas.addEventListener('pointercancel', () => (drag = null));
  canvas.addEventListener('keydown', event => keys(event, timeline.data.length, getView(), change));
}

// ← → move the selection, with Shift its right edge, with Alt by a tenth of the window; Home and End take it to the ends
// of the run; Escape gives it up. Without one, they begin at an end of the window.
function keys(event, length, view, change) {
  const direction = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (event.key === 'Escape') change(0, 0);
  else if (direction === undefined) return;
  else if (view.start >= view.stop) {
    const step = { Home: 0, End: length - 1 }[event.key] ?? (direction > 0 ? view.from : view.to - 1);
    change(step, step + 1);
  } else {
    const by = direction * (event.altKey ? Math.max(Math.round((view.to - view.from) / 10), 1) : 1);
    const width = view.stop - view.start;
    if (event.shiftKey) change(view.start, Math.min(Math.max(view.stop + by, view.start + 1), length));
    else {
      const start = Math.min(Math.max(view.start + by, 0), length - width);
      change(start, start + width);
    }
  }
  event.preventDefault();
}
