/* A drawing of our own as a picture: an SVG of the page with its title above it and, written into it, the looks that the page's styles give it. */
const SVG = "http://www.w3.org/2000/svg";
const LOOKS = ["fill", "stroke", "stroke-width", "opacity", "font-family", "font-size", "font-weight", "text-anchor"];
const HEAD = 34; // pixels above the drawing, for its title
const SHARP = 2;

/** "svg" or "png" of `drawing` as a data URL. */
export async function drawn(drawing, format, title) {
  const [, , width, height] = drawing.getAttribute("viewBox").split(" ").map(Number);
  const copy = drawing.cloneNode(true);
  const [shown, copied] = [drawing, copy].map((one) => [...one.querySelectorAll("*")]);
  shown.forEach((one, i) => {
    const style = getComputedStyle(one);
    for (const look of LOOKS) copied[i].style.setProperty(look, style.getPropertyValue(look));
    copied[i].removeAttribute("class");
  });
  const page = getComputedStyle(document.documentElement);
  const whole = element("svg", { viewBox: `0 0 ${width} ${height + HEAD}`, width, height: height + HEAD });
  const name = element("text", { x: 16, y: 24, fill: page.getPropertyValue("--text"), "font-size": 15, "font-weight": 600, "font-family": page.getPropertyValue("--font") });
  name.textContent = title;
  const moved = element("g", { transform: `translate(0 ${HEAD})` });
  moved.append(...copy.childNodes);
  whole.append(element("rect", { width: "100%", height: "100%", fill: page.getPropertyValue("--surface") }), name, moved);
  const text = new XMLSerializer().serializeToString(whole);
  return format === "svg" ? `data:image/svg+xml,${encodeURIComponent(text)}` : painted(text, width, height + HEAD);
}

function element(name, attributes) {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  return one;
}

async function painted(text, width, height) {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  const canvas = Object.assign(document.createElement("canvas"), { width: SHARP * width, height: SHARP * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}
