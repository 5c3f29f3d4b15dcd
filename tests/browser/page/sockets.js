// WebSocket messages in both directions, closes from both sides, and one that is refused.
export default async function () {
  const socket = open("/echo", location.host, ["v2", "v1"]);
  await new Promise((resolve) => (socket.onopen = resolve));
  const sent = ["", "größer", "again ".repeat(100000), noise(0), noise(1), noise(300000)];
  const same = [];
  for (const message of sent) {
    const reply = new Promise((resolve) => (socket.onmessage = (event) => resolve(event.data)));
    socket.send(message);
    same.push(equal(message, await reply));
  }
  const { protocol, extensions } = socket;
  socket.close(4001, "schön");
  const elsewhere = location.host.replace("127.0.0.1", "localhost");
  return {
    same,
    protocol,
    extensions,
    ours: await end(socket),
    theirs: await end(open("/leave")),
    large: await end(talkative(open("/small"), "x".repeat(1001))),
    foreign: await end(open("/echo", elsewhere)),
  };
}

function open(path, host = location.host, protocols = []) {
  const socket = new WebSocket(`ws://${host}${path}`, protocols);
  socket.binaryType = "arraybuffer";
  return socket;
}

function talkative(socket, message) {
  socket.onopen = () => socket.send(message);
  return socket;
}

const end = (socket) =>
  new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
  });

function noise(size) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536)
    crypto.getRandomValues(bytes.subarray(at, Math.min(size, at + 65536)));
  return bytes;
}

function equal(sent, got) {
  if (typeof sent === "string") return sent === got;
  const bytes = new Uint8Array(got);
  return bytes.length === sent.length && bytes.every((byte, at) => byte === sent[at]);
}
