"use strict";
(() => {
  const root = document.getElementById("viewer");
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const byName = new Map(data.methods.map((method) => [method.name, method]));
  const slider = root.querySelector("input[type=range]");
  const panes = ["left", "right"].map((side) => ({
    choice: root.querySelector(`#viewer-${side}`),
    image: root.querySelector(`#viewer-${side}-image`),
    caption: root.querySelector(`#viewer-${side}-caption`),
    difference: root.querySelector(`#viewer-difference-${side}`),
  }));

  for (const [place, side] of ["left", "right"].entries()) {
    for (const method of data.methods) {
      panes[place].choice.add(new Option(method.title, method.name, false, method.name === data[side]));
    }
  }
  slider.max = data.levels.length - 1;
  slider.value = slider.max;

  const show = () => {
    const step = Number(slider.value);
    const level = data.levels[step];
    slider.setAttribute("aria-valuetext", `level ${level}, step ${step + 1} of ${data.levels.length}`);
    root.querySelector("output").textContent = `t = ${level}, step ${step + 1} of ${data.levels.length}`;
    for (const pane of panes) {
      const method = byName.get(pane.choice.value);
      const place = Math.min(step, method.frames.length - 1);
      const score = method.psnr[place] === null ? "" : `, ${method.psnr[place].toFixed(2)} dB`;
      const at = method.frames.length > 1 ? ` at t = ${data.levels[place]}` : "";
      pane.image.src = pane.difference.src = method.frames[place];
      pane.image.alt = `The first test field: ${method.title}${at}`;
      pane.caption.textContent = `${method.title}${at}${score}`;
    }
  };
  slider.addEventListener("input", show);
  for (const pane of panes) pane.choice.addEventListener("change", show);
  root.querySelector("[data-larger]").addEventListener("change", (event) => {
    root.classList.toggle("larger", event.target.checked);
  });
  show();
  root.hidden = false;
})();
