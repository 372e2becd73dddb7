/** What the DNS daemon tells Prometheus. Questions are counted in an array: a labelled counter costs more than an answer. */
import { Counter, Gauge, type Registry } from "prom-client";
import { RCODE, TYPE } from "./codec/constants.ts";

const TRANSPORTS = ["udp", "tcp"] as const;
const TYPES = [...Object.keys(TYPE), "other"];
const RCODES = [...Object.keys(RCODE), "other"];
const TYPE_INDEX = indexOf(Object.values(TYPE), TYPES.length - 1);
const RCODE_INDEX = indexOf(Object.values(RCODE), RCODES.length - 1);

export type Transport = (typeof TRANSPORTS)[number];

export interface DnsMetrics {
  answered(transport: Transport, type: number, rcode: number): void;
  malformed(): void;
  /** An answer given from memory while no catalog is connected. */
  stale(): void;
  truncated(): void;
  recursion(outcome: "answered" | "failed"): void;
}

export interface DnsGauges {
  followed: () => number;
  tcpConnections: () => number;
  isConnected: () => boolean;
}

export function registerDnsMetrics(registry: Registry, gauges: DnsGauges): DnsMetrics {
  const registers = [registry];
  const answers = new Float64Array(TRANSPORTS.length * TYPES.length * RCODES.length);
  let malformed = 0;
  let stale = 0;
  let truncated = 0;
  const byAnswer = new Counter({
    name: "heddle_dns_answers_total",
    help: "Answers by transport, type of the question and response code.",
    labelNames: ["transport", "type", "rcode"],
    registers,
    collect() {
      byAnswer.reset();
      answers.forEach((count, i) => {
        if (count === 0) return;
        const rcode = RCODES[i % RCODES.length] as string;
        const type = TYPES[Math.floor(i / RCODES.length) % TYPES.length] as string;
        const transport = TRANSPORTS[Math.floor(i / (RCODES.length * TYPES.length))] as Transport;
        byAnswer.inc({ transport, type, rcode }, count);
      });
    },
  });
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  counter("heddle_dns_malformed_total", "Packets that were no question.", () => malformed);
  counter("heddle_dns_stale_answers_total", "Answers from memory while no catalog was connected.", () => stale);
  counter("heddle_dns_truncated_total", "Answers that had to leave records out.", () => truncated);
  gauge("heddle_dns_followed_services", "Services followed on the change stream.", gauges.followed);
  gauge("heddle_dns_tcp_connections", "Open TCP connections.", gauges.tcpConnections);
  gauge("heddle_dns_catalog_connected", "1 while the change stream of a catalog is connected.", () =>
    Number(gauges.isConnected()),
  );
  const recursions = new Counter({
    name: "heddle_dns_recursions_total",
    help: "Questions put to the recursors.",
    labelNames: ["outcome"],
    registers,
  });
  return {
    answered(transport, type, rcode) {
      const t = (transport === "tcp" ? TYPES.length : 0) + (TYPE_INDEX.get(type) ?? TYPES.length - 1);
      const i = t * RCODES.length + (RCODE_INDEX.get(rcode) ?? RCODES.length - 1);
      answers[i] = (answers[i] ?? 0) + 1;
    },
    malformed: () => void malformed++,
    stale: () => void stale++,
    truncated: () => void truncated++,
    recursion: (outcome) => recursions.inc({ outcome }),
  };
}

function indexOf(values: number[], last: number): Map<number, number> {
  return new Map(values.map((value, i) => [value, Math.min(i, last)]));
}
