// A form with files and one without, sent by fetch, and one that a page submits.
export default async function () {
  const form = new FormData();
  form.append("name", "Grüße\n");
  form.append('a "quoted" name', "1");
  form.append('a "quoted" name', "2");
  form.append("empty", new File([], ""));
  const photo = new Uint8Array(3_000_000).fill(7);
  form.append("photo", new File([photo], 'größe "1".png', { type: "image/png" }));
  const multipart = await post(form);
  const urlencoded = await post(new URLSearchParams([["q", "ä &+"], ["q", ""]]));
  return { multipart, urlencoded, submitted: await submitted() };
}

const post = async (body) => (await fetch("/form", { method: "POST", body })).json();

async function submitted() {
  const frame = document.createElement("iframe");
  frame.name = "response";
  document.body.append(frame);
  const form = document.createElement("form");
  const enctype = "multipart/form-data";
  Object.assign(form, { method: "post", action: "/form", target: "response", enctype });
  form.innerHTML = '<input name="_charset_" type="hidden"><input name="q" value="ä">';
  document.body.append(form);
  const loaded = new Promise((resolve) => (frame.onload = resolve));
  form.submit();
  await loaded;
  return JSON.parse(frame.contentDocument.querySelector("pre").textContent);
}
