/**
 * What must be true of a mesh: which nodes live, what they run, and what the catalog has to say of it. Pure; the test beside it
 * does to real hosts what this is told, and compares.
 */

export interface NodeState {
  agent: "down" | "up";
  /** Between the node and everybody else. */
  cable: "down" | "up";
  service: "down" | "up";
  /** Absent where the agent's own process probes. */
  checker?: "down" | "up";
  /** What is registered with the agent beside `web`. */
  extras: Set<string>;
  /** What the catalog was told last: it stays so while the node is away. */
  told: { status: "critical" | "passing"; extras: string[] };
  /** What the agent knows of its service: it stays so while nobody probes. */
  probed: "critical" | "passing";
}

export interface Model {
  server: "down" | "up";
  nodes: Map<string, NodeState>;
}

export interface Said {
  member: "alive" | "failed";
  serfHealth: "critical" | "passing";
  web: "critical" | "passing";
  extras: string[];
  /** Whether it is among the healthy instances of web. */
  isHealthy: boolean;
}

export const isReached = ({ agent, cable }: NodeState): boolean => agent === "up" && cable === "up";

/** Brings the model to where the mesh comes to rest after a step. */
export function settle({ server, nodes }: Model): void {
  for (const node of nodes.values()) {
    if (node.agent === "up" && node.checker !== "down") node.probed = node.service === "up" ? "passing" : "critical";
    if (server === "up" && isReached(node)) node.told = { status: node.probed, extras: [...node.extras].toSorted() };
  }
}

/** What the catalog has to say of a node, once the mesh has come to rest. */
export function expected(node: NodeState): Said {
  const isAlive = isReached(node);
  const { status, extras } = node.told;
  return {
    member: isAlive ? "alive" : "failed",
    serfHealth: isAlive ? "passing" : "critical",
    web: status,
    extras,
    isHealthy: isAlive && status === "passing",
  };
}

export type Step =
  | { what: "kill server" | "start server" }
  | {
      what:
        | "cut"
        | "kill agent"
        | "kill checker"
        | "kill service"
        | "plug"
        | "start agent"
        | "start checker"
        | "start service";
      node: string;
    }
  | { what: "deregister" | "register"; node: string; extra: string };

/** All steps that make sense now. */
export function steps({ server, nodes }: Model): Step[] {
  const found: Step[] = [{ what: server === "up" ? "kill server" : "start server" }];
  // A mesh that is mostly broken is a poor test: its server comes back soon.
  if (server === "down") found.push(...Array.from({ length: 8 }, (): Step => ({ what: "start server" })));
  for (const [node, { agent, cable, service, checker, extras }] of nodes) {
    found.push({ what: cable === "up" ? "cut" : "plug", node });
    found.push({ what: agent === "up" ? "kill agent" : "start agent", node });
    found.push({ what: service === "up" ? "kill service" : "start service", node });
    if (checker) found.push({ what: checker === "up" ? "kill checker" : "start checker", node });
    if (agent !== "up") continue;
    for (const extra of ["a", "b"]) found.push({ what: extras.has(extra) ? "deregister" : "register", node, extra });
  }
  return found;
}

export function apply(model: Model, step: Step): void {
  if (!("node" in step)) {
    model.server = step.what === "kill server" ? "down" : "up";
    return;
  }
  const node = model.nodes.get(step.node) as NodeState;
  switch (step.what) {
    case "cut":
    case "plug":
      node.cable = step.what === "cut" ? "down" : "up";
      return;
    case "kill agent":
    case "start agent":
      node.agent = step.what === "kill agent" ? "down" : "up";
      return;
    case "kill service":
    case "start service":
      node.service = step.what === "kill service" ? "down" : "up";
      return;
    case "kill checker":
    case "start checker":
      node.checker = step.what === "kill checker" ? "down" : "up";
      return;
    case "register":
      node.extras.add(step.extra);
      return;
    case "deregister":
      node.extras.delete(step.extra);
  }
}

/** Mulberry32: the same seed, the same steps. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
