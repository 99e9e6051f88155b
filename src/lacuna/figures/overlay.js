// What was measured of a face, drawn over its video as it plays. In: an element with a video, a canvas and a checkbox,
// and the measurements that overlay.py makes. Points are in thousandths of the picture's width and height.
function lacunaFaces(root, faces) {
  const video = root.querySelector("video"), canvas = root.querySelector("canvas"), shown = root.querySelector("input");
  const ink = canvas.getContext("2d");
  let begun = false;

  function nearest(time) {
    let low = 0, high = faces.frames.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (faces.frames[middle].t > time) high = middle; else low = middle;
    }
    return Math.abs(faces.frames[low].t - time) <= Math.abs(faces.frames[high].t - time) ? low : high;
  }

  function landmarks(points) {
    ink.strokeStyle = ink.fillStyle = "#7fffd4";
    ink.lineWidth = 1;
    for (const line of faces.lines) {
      ink.beginPath();
      line.forEach((i) => ink.lineTo(...points[i]));
      ink.stroke();
    }
    ink.fillStyle = "#ffffff";
    points.forEach(([x, y]) => ink.fillRect(x - 1, y - 1, 2, 2));
  }

  function gaze(points, directions, length) {
    ink.strokeStyle = ink.fillStyle = "#ffd000";
    ink.lineWidth = 2;
    faces.eyes.forEach((eye, i) => {
      const x = eye.reduce((sum, k) => sum + points[k][0], 0) / eye.length;
      const y = eye.reduce((sum, k) => sum + points[k][1], 0) / eye.length;
      ink.beginPath();
      ink.moveTo(x, y);
      ink.lineTo(x + length * directions[2 * i] / 1000, y + length * directions[2 * i + 1] / 1000);
      ink.stroke();
      ink.beginPath();
      ink.arc(x, y, 2, 0, 2 * Math.PI);
      ink.fill();
    });
  }

  // On the side that the face leaves free.
  function bars(values, width, middle) {
    const row = 12, names = 80, full = 36, left = middle > width / 2 ? 6 : width - names - full - 10;
    ink.font = "10px sans-serif";
    ink.textBaseline = "middle";
    ink.fillStyle = "rgba(0, 0, 0, .55)";
    ink.fillRect(left - 4, 2, names + full + 12, row * values.length + 6);
    values.forEach((value, i) => {
      const y = 5 + row * i;
      ink.fillStyle = "#ffffff";
      ink.fillText(faces.units[i], left, y + row / 2);
      ink.fillStyle = "rgba(255, 255, 255, .25)";
      ink.fillRect(left + names, y + 2, full, row - 4);
      ink.fillStyle = "#56b4e9";
      ink.fillRect(left + names, y + 2, full * value / 5, row - 4);
    });
  }

  function draw() {
    const width = video.clientWidth, height = video.clientHeight, ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    if (!shown.checked || !faces.frames.length) return;
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    const frame = faces.frames[nearest(begun ? video.currentTime : faces.still)];
    if (!frame.p) return;
    const points = [];
    for (let i = 0; i < frame.p.length; i += 2) points.push([frame.p[i] * width / 1000, frame.p[i + 1] * height / 1000]);
    landmarks(points);
    const xs = points.map(([x]) => x);
    if (frame.g) gaze(points, frame.g, 1.2 * (Math.max(...xs) - Math.min(...xs)));
    if (frame.u) bars(frame.u, width, (Math.max(...xs) + Math.min(...xs)) / 2);
  }

  function follow() {
    draw();
    if (!video.paused && !video.ended) window.requestAnimationFrame(follow);
  }

  video.addEventListener("play", () => { begun = true; follow(); });
  video.addEventListener("seeked", () => { begun = true; draw(); });
  for (const event of ["loadedmetadata", "pause", "timeupdate"]) video.addEventListener(event, draw);
  shown.addEventListener("change", draw);
  new ResizeObserver(draw).observe(video);
}
