  // Shared by the widgets: saccade_lib/widget.js.

  // An image on a canvas of its size, and its bytes: (row, column, channel of four).
  function read(image) {
    const source = document.createElement("canvas");
    const width = source.width = image.naturalWidth;
    const height = source.height = image.naturalHeight;
    const reader = source.getContext("2d", { willReadFrequently: true });
    reader.drawImage(image, 0, 0);
    return { source, width, height,
      pixels: reader.getImageData(0, 0, width, height).data };
  }

  function slidersOf(root, names) {
    return Object.fromEntries(names.map(function (name) {
      return [name, root.querySelector("input[name=" + name + "]")];
    }));
  }

  // A press on the scene, or a drag over it, moves the sliders x and y there.
  function followPointer(scene, slider, then) {
    function point(event) {
      const area = scene.getBoundingClientRect();
      slider.x.value = 2 * (event.clientX - area.left) / area.width - 1;
      slider.y.value = 2 * (event.clientY - area.top) / area.height - 1;
      then();
    }
    scene.addEventListener("pointerdown", point);
    scene.addEventListener("pointermove", function (event) {
      if (event.buttons) point(event);
    });
  }

  // Every widget of a kind that has not started yet, so that several can stand on a
  // page and copies of an output work too.
  function start(kind, mount) {
    for (const root of document.querySelectorAll("." + kind + ":not([data-ready])")) {
      root.setAttribute("data-ready", "");
      const image = new Image();
      image.onload = function () { mount(root, image); };
      image.src = root.dataset.image;
    }
  }
