// A body whose chunks are sent after the one before was read, and one that is cancelled.
export default async function () {
  return { chunks: await read("/chunks"), left: await read("/endless", 2) };
}

async function read(path, upto = Infinity) {
  const reader = (await fetch(path)).body.pipeThrough(new TextDecoderStream()).getReader();
  const chunks = [];
  while (chunks.length < upto) {
    const { value, done } = await reader.read();
    if (done) return chunks;
    chunks.push(value);
    await fetch("/read", { method: "POST" });
  }
  await reader.cancel();
  return chunks;
}
