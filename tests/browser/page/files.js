// A style sheet, an image, seeking in a sound, a range, and a conditional request.
export default async function () {
  const image = new Image();
  image.src = "square.svg";
  await image.decode();

  const sound = new Audio("/tone.wav");
  sound.preload = "auto";
  await on(sound, "loadedmetadata");
  sound.currentTime = sound.duration - 1;
  await on(sound, "seeked");

  const part = await fetch("style.css", { headers: { Range: "bytes=5-9" } });
  await fetch("square.svg");
  const again = await fetch("square.svg", { cache: "no-cache" });
  return {
    color: getComputedStyle(document.documentElement).color,
    image: [image.width, image.height],
    seconds: sound.duration,
    part: [part.status, await part.text()],
    again: [again.status, (await again.text()).length],
    missing: (await fetch("missing.css")).status,
  };
}

const on = (target, event) =>
  new Promise((resolve, reject) => {
    target.addEventListener(event, resolve, { once: true });
    target.addEventListener("error", () => reject(target.error), { once: true });
  });
