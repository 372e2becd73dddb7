/** Catalogs as processes on a real etcd, to be killed and stopped. */
import { randomUUID } from "node:crypto";
import type { EtcdCluster } from "@heddle/store/testing";
import { type Daemon, freePort, serve } from "../faults/daemon.ts";

export interface CatalogProcess {
  readonly name: string;
  readonly url: string;
  readonly port: number;
  signal(signal: NodeJS.Signals): void;
  /** Kills it, where it runs, and starts it on the same port. */
  restart(): Promise<void>;
  output(): string;
}

export const storeOf = (etcd: EtcdCluster, root: string = randomUUID()): string =>
  `-store=etcd://${etcd.endpoints.map((url) => new URL(url).host).join(",")}/${root}`;

/** Starts catalogs with these names on one mesh. They are killed when the test file ends. */
export async function startCatalogs(store: string, names: readonly string[]): Promise<CatalogProcess[]> {
  return Promise.all(
    names.map(async (name) => {
      const port = await freePort();
      const launch = () =>
        serve(
          "catalog",
          port,
          `-node=${name}`,
          store,
          "-session-ttl-min=1s",

          "-ca-url=http://127.0.0.1:1",
        );
      let running: Daemon = await launch();
      return {
        ...{ name, port, url: `http://127.0.0.1:${port}` },
        signal: (signal) => void running.child.kill(signal),
        async restart() {
          await running.end("SIGKILL");
          running = await launch();
        },
        output: () => running.output(),
      };
    }),
  );
}
