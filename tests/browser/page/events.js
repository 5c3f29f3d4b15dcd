// Events over three connections, of which the last says that there will be no more.
export default () =>
  new Promise((resolve) => {
    const seen = [];
    const source = new EventSource("/events");
    const note = ({ type, data, lastEventId }) => seen.push([type, data, lastEventId]);
    source.onmessage = note;
    source.addEventListener("tick", note);
    source.onerror = () => {
      seen.push(["error", source.readyState]);
      if (source.readyState === EventSource.CLOSED) resolve({ seen });
    };
  });
