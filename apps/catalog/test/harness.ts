/** A real catalog on a free port, and the few requests that its tests make. */
import { randomUUID } from "node:crypto";
import { createApiClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { loadConfig, start } from "../src/index.ts";

/**
 * HEDDLE_TEST_ETCD ("127.0.0.1:2379") has every catalog of these tests keep its records there, each in a place of its own:
 * that of its data directory, where it has one.
 */
function storeFlags(flags: readonly string[]): string[] {
  const { HEDDLE_TEST_ETCD: etcd } = process.env;
  const place = flags.find((flag) => flag.startsWith("-data-dir="))?.replace(/[^\w]+/g, "-") ?? randomUUID();
  return etcd ? [`-store=etcd://${etcd}/test/${place}`] : [];
}

export async function startCatalog(flags: string[] = []) {
  const config = loadConfig({ argv: ["-port=0", ...storeFlags(flags), ...flags], env: {}, readFile: () => "{}" });
  const running = await start(config, { log: silentLog });
  const api = createApiClient({ address: running.url });
  return {
    url: running.url,
    api,
    register: (body: object) => api.put("/v1/catalog/register", { body }),
    async [Symbol.asyncDispose]() {
      api.close();
      await running.close();
    },
  };
}
