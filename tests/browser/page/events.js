// Server-sent events over three connections; the last gets a 204, so the browser stops.
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
