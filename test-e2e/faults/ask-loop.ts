/**
 * A process of its own that asks daemons one after another, each time on a new connection with mutual TLS, until its standard input ends; then
 * it prints how long each answer took, in milliseconds, as JSON. Apart from the test, whose own work would count otherwise.
 *
 *     node ask-loop.ts CA CERT KEY PORT…
 */
import { readFileSync } from "node:fs";
import { request } from "node:https";

const LEAST = 150;
const [ca, cert, key, ...ports] = process.argv.slice(2) as [string, string, string, ...string[]];
const identity = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };

const ask = (port: string) =>
  new Promise<void>((resolve, reject) => {
    const req = request({ host: "127.0.0.1", port, path: "/healthz", agent: false, ...identity }, (res) => {
      if (res.statusCode !== 200) reject(new Error(`port ${port} answers ${res.statusCode}`));
      res.resume().once("end", resolve);
    });
    req.once("error", reject).end();
  });

let isOver = false;
process.stdin.resume().once("end", () => (isOver = true));
const took: number[] = [];
for (let i = 0; i < 5; i++) for (const port of ports) await ask(port); // what runs for the first time is slow
while (!isOver || took.length < LEAST) {
  for (const port of ports) {
    const askedAt = performance.now();
    await ask(port);
    took.push(performance.now() - askedAt);
  }
}
process.stdout.write(`${JSON.stringify(took)}\n`);
