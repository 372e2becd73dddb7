/** Brings a compose file up, in the order of its `depends_on`, and takes it down again whatever happens. */
import { execFileSync } from "node:child_process";
import { chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Condition, readCompose, type ServiceSpec } from "./compose-file.ts";
import { type Container, startContainer } from "./container.ts";
import { buildImage, type Image, prometheusImage } from "./image.ts";
import { createNetwork, type Network } from "./network.ts";
import { until } from "./until.ts";

export interface Mesh extends AsyncDisposable {
  readonly folder: string;
  readonly network: Network;
  readonly services: Map<string, ServiceSpec>;
  /** The running (or last) container of a service. */
  container(service: string): Container;
  /** Starts what does not run, without waiting for what it depends on: what an engine's restart does. */
  start(service: string): void;
  /** Ends it with SIGKILL and resolves when it is gone. */
  kill(service: string): Promise<void>;
  /** By the service's healthcheck; one without is healthy while it runs. */
  isHealthy(service: string): Promise<boolean>;
  /** SIGTERM to all, dependants first; resolves with each one's status. */
  stop(): Promise<Record<string, number>>;
}

const START_TIMEOUT_MS = 30_000;
/** What is in every container: the base system's /usr. */
const SYSTEM_IMAGE: Image = {
  ...{ entrypoint: [], command: [], user: "0:0", env: { PATH: "/usr/bin:/bin" }, healthcheck: [], files: "" },
  folders: new Map(),
};

/** `prometheus` is the binary that stands for its image; etcd's is the system's own. */
export async function startMesh(file: string, { prometheus }: { prometheus?: string } = {}): Promise<Mesh> {
  const services = readCompose(file);
  const folder = mkdtempSync(join(tmpdir(), "heddle-compose-"));
  execFileSync("chmod", ["0755", folder]); // the containers' users pass through it
  const owners = [...services.values()].filter((s) => s.network === s.name).map((s) => s.name);
  const isolated = [...services.values()].filter((s) => s.network === "none").map((s) => s.name);
  const containers = new Map<string, Container>();
  let network: Network | undefined;
  const dispose = async () => {
    for (const container of containers.values()) container.kill("SIGKILL");
    await Promise.all([...containers.values()].map((c) => c.exited));
    network?.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const built = buildImage(join(folder, "image"));
    const monitor = prometheus ? prometheusImage(join(folder, "prometheus-image"), prometheus) : undefined;
    const imageOf = ({ image, isBuilt }: ServiceSpec): Image => {
      const bought = image.startsWith("quay.io/coreos/etcd:") ? SYSTEM_IMAGE : monitor;
      const found = isBuilt ? built : bought;
      if (!found) throw new Error(`nothing stands for the image ${image}`);
      return found;
    };
    const net = await createNetwork(owners, isolated);
    network = net;
    const etc = writeEtc(folder, net);
    const volumes = new Map<string, string>();
    const start = (name: string) => {
      const spec = services.get(name) as ServiceSpec;
      if (containers.get(name)?.isRunning()) throw new Error(`${name} runs already`);
      const image = imageOf(spec);
      const networkPid = net.namespaces.get(spec.network === "none" ? name : spec.network)?.pid as number;
      const sources = sourcesOf(spec, image, { folder, volumes });
      containers.set(name, startContainer({ spec, image, networkPid, sources, etc, folder: join(folder, name) }));
    };
    const container = (name: string) => {
      const found = containers.get(name);
      if (!found) throw new Error(`${name} was not started`);
      return found;
    };
    const isHealthy = async (name: string) => {
      const spec = services.get(name) as ServiceSpec;
      const test = spec.healthcheck ?? (spec.isBuilt ? built.healthcheck : []);
      return container(name).isRunning() && (test.length === 0 || (await container(name).exec(test)) === 0);
    };
    const mesh: Mesh = {
      folder,
      network: net,
      services,
      container,
      start,
      isHealthy,
      async kill(name) {
        container(name).kill("SIGKILL");
        await container(name).exited;
      },
      stop: () => stopAll(services, containers),
      [Symbol.asyncDispose]: dispose,
    };
    await startAll(mesh);
    return mesh;
  } catch (error) {
    const last = [...containers].map(([name, c]) => `${name}: ${c.lines.slice(-3).join("\n  ")}`).join("\n");
    await dispose();
    throw new Error(`the mesh did not come up; last lines:\n${last}`, { cause: error });
  }
}

/** Each service starts as soon as what it depends on is as it should be. */
async function startAll(mesh: Mesh): Promise<void> {
  const started = new Map<string, Promise<void>>();
  const reached = new Map<string, Promise<void>>();
  const reach = (name: string, condition: Condition) => {
    const key = `${name} ${condition}`;
    let promise = reached.get(key);
    if (!promise) reached.set(key, (promise = bring(name).then(() => wait(mesh, name, condition))));
    return promise;
  };
  const bring = (name: string): Promise<void> => {
    let promise = started.get(name);
    if (!promise) {
      const { dependsOn } = mesh.services.get(name) as ServiceSpec;
      promise = Promise.all(Object.entries(dependsOn).map(([other, condition]) => reach(other, condition))).then(() =>
        mesh.start(name),
      );
      started.set(name, promise);
    }
    return promise;
  };
  await Promise.all([...mesh.services.keys()].map(bring));
}

async function wait(mesh: Mesh, name: string, condition: Condition): Promise<void> {
  const container = mesh.container(name);
  if (condition === "service_completed_successfully") {
    const status = await container.exited;
    if (status !== 0) throw new Error(`${name} exited with ${status}:\n${container.lines.join("\n")}`);
  } else if (condition === "service_healthy") {
    await until(`${name} to be healthy`, START_TIMEOUT_MS, async () => {
      if (!container.isRunning()) throw new Error(`${name} has exited:\n${container.lines.slice(-10).join("\n")}`);
      return mesh.isHealthy(name);
    });
  }
}

async function stopAll(services: Map<string, ServiceSpec>, containers: Map<string, Container>) {
  const statuses: Record<string, number> = {};
  const running = () => [...containers].filter(([, c]) => c.isRunning()).map(([name]) => name);
  for (let left = running(); left.length > 0; left = running()) {
    const isNeeded = (name: string) => left.some((other) => services.get(other)?.dependsOn[name] !== undefined);
    await Promise.all(
      left
        .filter((name) => !isNeeded(name))
        .map(async (name) => {
          containers.get(name)?.kill("SIGTERM");
          statuses[name] = (await containers.get(name)?.exited) ?? -1;
        }),
    );
  }
  return statuses;
}

/** Folders for its mounts; a new volume belongs to whom the image's folder there belongs, as in an engine. */
function sourcesOf(
  spec: ServiceSpec,
  image: Image,
  { folder, volumes }: { folder: string; volumes: Map<string, string> },
): Map<string, string> {
  const sources = new Map<string, string>();
  for (const { source, isVolume, target } of spec.mounts) {
    let path = source;
    if (isVolume) {
      path = volumes.get(source) ?? join(folder, "volumes", source);
      if (!volumes.has(source)) {
        mkdirSync(path, { recursive: true });
        const [uid, gid] = (image.folders.get(target) ?? "0:0").split(":").map(Number);
        chownSync(path, uid as number, gid as number);
        volumes.set(source, path);
      }
    }
    sources.set(target, path);
  }
  return sources;
}

/** What an engine's name server would say, and the users of the images. */
function writeEtc(folder: string, network: Network): string {
  const etc = join(folder, "etc");
  mkdirSync(etc);
  const names = [...network.namespaces.values()].filter((n) => n.address).map((n) => `${n.address} ${n.name}\n`);
  writeFileSync(join(etc, "hosts"), `127.0.0.1 localhost\n${names.join("")}`);
  writeFileSync(join(etc, "nsswitch.conf"), "hosts: files\n");
  writeFileSync(
    join(etc, "passwd"),
    "root:x:0:0::/:/bin/sh\nheddle:x:10001:10001::/var/lib/heddle:/usr/sbin/nologin\n",
  );
  cpSync("/etc/ld.so.cache", join(etc, "ld.so.cache"));
  return etc;
}
