import { once } from "node:events";
import { createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

test("a subscription gets the answer as it stands, then each change", async () => {
  await using catalog = await startCatalog();
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const seen: number[] = [];
  stream.subscribe<unknown[]>("/v1/health/service/web", { onAnswer: ({ body }) => seen.push(body.length) });
  await expect.poll(() => seen).toEqual([0]);
  await catalog.register({ Node: "n1", Address: "10.0.0.1", Service: { Service: "web" } });
  await expect.poll(() => seen).toEqual([0, 1]);
  await catalog.register({ Node: "n1", Address: "10.0.0.1", Service: { Service: "other" } });
  await catalog.api.put("/v1/catalog/deregister", { body: { Node: "n1" } });
  await expect.poll(() => seen).toEqual([0, 1, 0]);
  stream.close();
});

test("a path that cannot be followed is refused, and the others go on", async () => {
  await using catalog = await startCatalog();
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const errors: string[] = [];
  const answers: unknown[] = [];
  stream.subscribe("/v1/agent/self", { onAnswer: () => {}, onError: (error) => errors.push(error.message) });
  stream.subscribe("/v1/catalog/services", { onAnswer: ({ body }) => answers.push(body) });
  await expect.poll(() => errors).toHaveLength(1);
  expect(errors[0]).toContain("cannot be subscribed to");
  await expect.poll(() => answers).toEqual([{}]);
  stream.close();
});

test("bytes are not followed: each message is JSON whatever a key holds", async () => {
  await using catalog = await startCatalog();
  await catalog.api.put("/v1/kv/note", { body: "} not JSON" });
  const socket = new WebSocket(`${catalog.url}/v1/stream`);
  const messages: unknown[] = [];
  socket.onmessage = ({ data }) => messages.push(JSON.parse(data as string));
  await once(socket, "open");
  socket.send('{"id":1,"subscribe":"/v1/kv/note?raw"}');
  socket.send('{"id":2,"subscribe":"/v1/kv/note"}');
  await expect.poll(() => messages).toHaveLength(2);
  expect(messages).toEqual([
    { id: 1, error: { code: "invalid_argument", message: expect.stringContaining("?raw cannot be subscribed to") } },
    { id: 2, index: expect.any(Number), body: [expect.objectContaining({ Value: btoa("} not JSON") })] },
  ]);
  socket.close();
});

test("a closed subscription hears no more", async () => {
  await using catalog = await startCatalog();
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const closed: unknown[] = [];
  const open: unknown[] = [];
  const subscription = stream.subscribe("/v1/catalog/services", { onAnswer: ({ body }) => closed.push(body) });
  stream.subscribe("/v1/catalog/services", { onAnswer: ({ body }) => open.push(body) });
  await expect.poll(() => [closed.length, open.length]).toEqual([1, 1]);
  subscription.close();
  await catalog.register({ Node: "n1", Address: "10.0.0.1", Service: { Service: "web" } });
  await expect.poll(() => open.length).toBe(2);
  expect(closed).toHaveLength(1);
  stream.close();
});
