/** Runs in a namespace and does there what the test asks for over the IPC channel: requests, exchanges, and flows that go on. */
import { request } from "node:http";
import { connect, type Socket } from "node:net";

export type Ask =
  | { op: "http"; method: string; url: string; body: string }
  | { op: "talk"; port: number; text: string }
  | { op: "flow"; port: number }
  | { op: "flow-state"; flow: number };

const FLOW_PAUSE_MS = 10;
const ANSWER_TIMEOUT_MS = 10_000;

interface Flow {
  rounds: number;
  isOpen: boolean;
}
const flows: Flow[] = [];

process.on("message", ({ id, ask }: { id: number; ask: Ask }) => {
  answer(ask).then(
    (value) => process.send?.({ id, value }),
    (error: Error) => process.send?.({ id, error: error.message }),
  );
});
process.on("disconnect", () => process.exit(0));

async function answer(ask: Ask): Promise<unknown> {
  switch (ask.op) {
    case "http":
      return http(ask.method, ask.url, ask.body);
    case "talk":
      return talk(ask.port, ask.text);
    case "flow":
      return flows.push(openFlow(ask.port)) - 1;
    case "flow-state":
      return flows[ask.flow];
  }
}

function http(method: string, url: string, body: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Length": Buffer.byteLength(body) };
    const req = request(url, { method, headers, timeout: ANSWER_TIMEOUT_MS }, (res) => {
      let text = "";
      res.setEncoding("utf8");
      res.on("data", (chunk: string) => (text += chunk));
      res.once("end", () => resolve({ status: res.statusCode ?? 0, text }));
      res.once("error", reject);
    });
    req.once("timeout", () => req.destroy(new Error(`no answer from ${url}`)));
    req.once("error", reject);
    req.end(body);
  });
}

/** Sends, ends its side, and resolves with all that came back; nothing where it was refused. */
function talk(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => socket.end(text));
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.setEncoding("utf8").on("data", (chunk: string) => (received += chunk));
    socket.on("error", () => {});
    socket.once("close", () => resolve(received));
  });
}

/** One connection on which a line goes out whenever the last has come back. */
function openFlow(port: number): Flow {
  const flow: Flow = { rounds: 0, isOpen: true };
  let received = "";
  const socket: Socket = connect(port, "127.0.0.1", () => socket.write("0\n"));
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    received += chunk;
    if (received !== `${flow.rounds}\n`) {
      if (!`${flow.rounds}\n`.startsWith(received)) socket.destroy(new Error("something else came back"));
      return;
    }
    received = "";
    flow.rounds++;
    setTimeout(() => socket.writable && socket.write(`${flow.rounds}\n`), FLOW_PAUSE_MS);
  });
  socket.on("error", () => {});
  socket.once("close", () => {
    flow.isOpen = false;
  });
  return flow;
}
