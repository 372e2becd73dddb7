/** Step 8 of the walk: configuration that changes while everything runs. */
import { expect, test } from "vitest";
import { type Agent, comesTo, definition, type Mesh, netcat, startMesh, startSocat } from "../support/mesh.ts";
import { run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

type Reload = (mesh: Mesh) => Promise<{ refused: string | undefined }>;

/** The three ways, each with what it says about a refusal. */
const WAYS: [name: string, reload: Reload][] = [
  [
    "heddle reload",
    async ({ heddle }) => {
      const { status, out, err } = await heddle("reload");
      if (status === 0) expect(out).toBe("Configuration reload triggered\n");
      return { refused: status === 0 ? undefined : err };
    },
  ],
  [
    "SIGHUP",
    async ({ agent }) => {
      const from = agent.text.length;
      agent.child.kill("SIGHUP");
      const [line] = await agent.printed(/agent: (?:Reloaded|reload failed|Configuration reloaded).*/i, { from });
      return { refused: /failed/.test(line) ? line : undefined };
    },
  ],
  [
    "PUT /v1/agent/reload",
    async ({ ports }) => {
      const url = `http://127.0.0.1:${ports.http}/v1/agent/reload`;
      const { out } = await run("curl", ["-sS", "-X", "PUT", "-w", "%{http_code}", url]);
      return { refused: out === "200" ? undefined : out };
    },
  ],
];

const services = async ({ api }: Agent) => api<Record<string, { Port: number }>>("/v1/agent/services");

test.for(WAYS)(
  "%s: a second definition appears, a broken one is refused, the first sidecar keeps its port",
  async ([, reload], ctx) => {
    needs(ctx, "socat", "nc", "curl");
    const mesh = await startMesh();
    const { ports, api, write, remove } = mesh;
    const open = start("nc", ["localhost", String(ports.upstream)]);
    open.write("before\n");
    await open.printed("before\n");

    // In name order the new one comes first: in Consul it would now take the first sidecar's port.
    write("a-first.json", definition("a-first", ports.other));
    expect(await reload(mesh)).toEqual({ refused: undefined });
    await expect.poll(async () => Object.keys(await services(mesh))).toContain("a-first-sidecar-proxy");
    const after = await services(mesh);
    expect(after["socat-sidecar-proxy"]?.Port).toBe(ports.sidecar);
    expect(after["a-first-sidecar-proxy"]?.Port).toBe(ports.sidecar + 1);
    await expect.poll(() => api<unknown[]>("/v1/catalog/service/a-first")).toHaveLength(1);

    // A broken file is refused with its place, and nothing changes.
    write("broken.json", '{\n  "service": {\n    "name": "broken",\n    "prot": 1\n  }\n}');
    const { refused } = await reload(mesh);
    expect(refused).toMatch(/broken\.json:4:5: unknown key 'prot' in service: did you mean 'port'/);
    expect(await services(mesh)).toEqual(after);
    write("broken.json", "{");
    expect((await reload(mesh)).refused).toMatch(/broken\.json/);
    expect(await services(mesh)).toEqual(after);
    expect(await netcat(ports.upstream, "still here")).toBe("still here\n");
    remove("broken.json");

    // The definition goes and comes back, and its sidecar has the port that it had.
    remove("socat.json");
    expect(await reload(mesh)).toEqual({ refused: undefined });
    await expect
      .poll(async () => Object.keys(await services(mesh)).toSorted())
      .toEqual(["a-first", "a-first-sidecar-proxy"]);
    await expect.poll(() => api<unknown[]>("/v1/catalog/service/socat")).toEqual([]);
    write("b-second.json", definition("b-second", ports.another));
    write("socat.json", definition("socat", ports.echo));
    expect(await reload(mesh)).toEqual({ refused: undefined });
    await expect.poll(async () => (await services(mesh))["socat-sidecar-proxy"]?.Port).toBe(ports.sidecar);
    expect((await services(mesh))["a-first-sidecar-proxy"]?.Port).toBe(ports.sidecar + 1);
    expect((await services(mesh))["b-second-sidecar-proxy"]?.Port).toBe(ports.sidecar + 2);
    await comesTo(ports.upstream, "echo");
    open.write("after\n");
    await open.printed("after\n");
    expect(mesh.agent.child.exitCode).toBeNull();
  },
);

test("a definition that changes is taken over, and its proxy follows", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh();
  const { ports, write, ok, socat } = mesh;
  const second = startSocat(ports.other);
  await expect.poll(() => netcat(ports.other, "up")).toBe("up\n");
  write("socat.json", definition("socat", ports.other));
  await ok("reload");
  await expect
    .poll(
      async () => {
        await netcat(ports.upstream, "moved");
        return second.text;
      },
      { timeout: 10_000 },
    )
    .toContain("moved");
  await socat.stop();
  await comesTo(ports.upstream, "echo");
});
