/** A real catalog on a free port, and the few requests that its tests make. */
import { createApiClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { loadConfig, start } from "../src/index.ts";

export async function startCatalog(flags: string[] = []) {
  const config = loadConfig({ argv: ["-port=0", ...flags], env: {}, readFile: () => "{}" });
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
