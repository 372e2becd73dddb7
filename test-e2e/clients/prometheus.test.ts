/** Prometheus finds its targets in the catalog (`consul_sd_configs`): tags and metadata choose and label them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findPrometheus } from "../compose/needs.ts";
import { makePlace, startAgent } from "../support/mesh.ts";
import { claimPorts } from "../support/ports.ts";
import { start } from "../support/process.ts";

const CONFIG = (agent: number) => `
global: { scrape_interval: 500ms, scrape_timeout: 400ms }
scrape_configs:
  - job_name: tagged
    consul_sd_configs:
      - server: 127.0.0.1:${agent}
        tags: [metrics]
        refresh_interval: 200ms
    relabel_configs:
      - source_labels: [__meta_consul_service_metadata_metrics_path]
        regex: (.+)
        target_label: __metrics_path__
      - source_labels: [__meta_consul_service]
        target_label: service
      - source_labels: [__meta_consul_node]
        target_label: node
      - source_labels: [__meta_consul_tags]
        regex: .*,color=([^,]+),.*
        target_label: color
      - source_labels: [__meta_consul_service_metadata_team]
        target_label: team
      - source_labels: [__meta_consul_dc]
        target_label: dc
      - source_labels: [__meta_consul_health]
        target_label: health
  - job_name: by-meta
    consul_sd_configs:
      - server: 127.0.0.1:${agent}
        services: [shop, bank]
        allow_stale: false
        refresh_interval: 200ms
    relabel_configs:
      - source_labels: [__meta_consul_service_metadata_scrape]
        regex: "yes"
        action: keep
      - source_labels: [__meta_consul_service_id]
        target_label: id
`;

interface Target {
  labels: Record<string, string>;
  health: string;
}

test("targets come, are labelled by tags and metadata, and go", async (ctx) => {
  const prometheus = findPrometheus();
  if (!prometheus) {
    const reason = `skipped '${ctx.task.name}': there is no prometheus with consul_sd_configs (tools/install-test-tools.sh)`;
    process.stdout.write(`${reason}\n`);
    return ctx.skip(reason);
  }
  const place = await makePlace();
  place.write("node.json", { node_name: "prom1" });
  place.remove("socat.json");
  await startAgent(place, ["-dev"], "Heddle agent running!");
  const exporter = createServer((req, res) => {
    res.writeHead(req.url === "/custom" ? 200 : 404, { "Content-Type": "text/plain; version=0.0.4" });
    res.end("up_and_running 1\n");
  });
  await new Promise<void>((resolve) => exporter.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    exporter.closeAllConnections();
    exporter.close();
  });
  const { port } = exporter.address() as AddressInfo;
  const put = async (path: string, body?: object) => {
    const res = await fetch(`http://127.0.0.1:${place.ports.http}${path}`, {
      method: "PUT",
      body: JSON.stringify(body ?? {}),
    });
    expect(res.status, await res.text()).toBe(200);
  };
  const address = "127.0.0.1";
  await put("/v1/agent/service/register", {
    Name: "shop",
    ID: "shop-1",
    Port: port,
    Address: address,
    Tags: ["metrics", "color=blue"],
    Meta: { metrics_path: "/custom", team: "sales", scrape: "yes" },
  });
  await put("/v1/agent/service/register", { Name: "bank", Port: port, Address: address, Meta: { scrape: "no" } });

  const { port: ports } = await claimPorts(["web"]);
  const dir = join(place.dir, "prometheus");
  mkdirSync(dir);
  writeFileSync(join(dir, "prometheus.yml"), CONFIG(place.ports.http));
  start(
    prometheus,
    [
      "--config.file=prometheus.yml",
      "--storage.tsdb.path=data",
      `--web.listen-address=127.0.0.1:${ports.web}`,
      "--log.level=warn",
    ],
    { cwd: dir },
  );
  const targets = async (job: string): Promise<Target[]> => {
    const res = await fetch(`http://127.0.0.1:${ports.web}/api/v1/targets?state=active`);
    const { data } = (await res.json()) as { data: { activeTargets: Target[] } };
    return data.activeTargets.filter(({ labels }) => labels.job === job);
  };
  const poll = (read: () => Promise<unknown>) => expect.poll(() => read().catch(() => undefined));
  await poll(() => targets("tagged")).toMatchObject([
    {
      health: "up",
      labels: {
        service: "shop",
        node: "prom1",
        color: "blue",
        team: "sales",
        dc: "dc1",
        instance: `${address}:${port}`,
      },
    },
  ]);
  await poll(() => targets("by-meta")).toMatchObject([{ labels: { id: "shop-1" } }]);

  // What changes in the catalog changes there.
  await put("/v1/agent/service/register", { Name: "bank", Port: port, Address: address, Meta: { scrape: "yes" } });
  await put("/v1/agent/service/deregister/shop-1");
  await poll(() => targets("tagged")).toEqual([]);
  await poll(async () => (await targets("by-meta")).map(({ labels }) => labels.id)).toEqual(["bank"]);
});
