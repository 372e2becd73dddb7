import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { silentLog } from "@heddle/daemon";
import { expect, onTestFinished, test } from "vitest";
import { WebSocketServer } from "ws";
import { createStreamClient } from "./stream.ts";

test.each([
  ["no JSON", "{"],
  ["an answer that its reader throws at", '{"id":1,"index":7,"body":"throw"}'],
])("a stream that says %s is left for a new one, which is asked for everything", async (_title, said) => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const asked: number[] = [];
  server.on("connection", (socket) => {
    socket.on("message", (data: Buffer) => {
      asked.push((JSON.parse(data.toString()) as { index: number }).index);
      socket.send(asked.length === 1 ? '{"id":1,"index":5,"body":"first"}' : '{"id":1,"index":9,"body":"again"}');
      if (asked.length === 1) socket.send(said);
    });
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = createStreamClient({ url, log: silentLog });
  onTestFinished(() => {
    client.close();
    server.close();
  });
  const heard: unknown[] = [];
  client.subscribe("/v1/health/service/web", {
    onAnswer: ({ body }) => {
      if (body === "throw") throw new TypeError("this reader is broken");
      heard.push(body);
    },
  });
  await expect.poll(() => heard).toEqual(["first", "again"]);
  expect(asked).toEqual([0, 0]);
});
