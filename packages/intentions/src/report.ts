/** What proxies tell of the rules that they hold and of the connections under them. The keys are those of the API. */

/** Two services and what went on between them in the last day. */
export interface PairUse {
  Source: string;
  Destination: string;
  /** Connections that are open now. */
  Open: number;
  /** Both ways, of all connections that are known. */
  Bytes: number;
  /** When a connection was last open, RFC 3339; empty where none was. */
  LastSeen: string;
  /** Connections that a rule refused, and when the last of them. */
  Refused: number;
  LastRefused: string;
}

/** A pair as one proxy sees it: the caller's end or the service's. */
export interface SeenPair extends PairUse {
  Direction: "inbound" | "outbound";
}

export interface RuleReport {
  /** Of what holds the rules (a proxy, on one of its threads), for as long as it lives. */
  ID: string;
  /** Machine and number of its process: a proxy on several threads is one. */
  Process: string;
  /** Registered ID of the proxy; empty where it has none. */
  Proxy: string;
  Service: string;
  /** X-Consul-Index of the rules that it applies; 0 where it holds none, for nobody calls it. */
  Version: number;
  /** Connections that were cut when a version was taken over, by their caller. */
  Cuts: { Version: number; Source: string; Count: number }[];
  Pairs: SeenPair[];
  /** It has ended. */
  Gone?: boolean;
}

/** The same report with at most `max` pairs: those with open connections first, then those seen last. */
export function withFewerPairs(report: RuleReport, max: number): RuleReport {
  if (report.Pairs.length <= max) return report;
  const order = (pair: SeenPair): string => `${pair.Open > 0 ? 1 : 0} ${pair.LastSeen}`;
  const Pairs = [...report.Pairs].sort((a, b) => (order(a) < order(b) ? 1 : -1)).slice(0, Math.max(0, max));
  return { ...report, Pairs };
}

/** For a decoder of bodies. */
export const RULE_REPORT_FIELDS = {
  ID: "string",
  Process: "string",
  Proxy: "string",
  Service: "string",
  Version: "integer",
  Cuts: { list: { object: { Version: "integer", Source: "string", Count: "integer" } } },
  Pairs: {
    list: {
      object: {
        Direction: "string",
        Source: "string",
        Destination: "string",
        Open: "integer",
        Bytes: "integer",
        LastSeen: "string",
        Refused: "integer",
        LastRefused: "string",
      },
    },
  },
  Gone: "boolean",
} as const;

const MAX_TEXT = 256;
const MAX_PAIRS = 256;
const MAX_CUTS = 64;

/** Takes a decoded report over. Throws RangeError naming the field that is too long, missing or unknown. */
export function readRuleReport(given: Partial<RuleReport>, where = ""): RuleReport {
  const text = (name: string, value: string | undefined, isNeeded = false): string => {
    if (isNeeded && !value) throw new RangeError(`${where}${name} is empty`);
    if ((value?.length ?? 0) > MAX_TEXT)
      throw new RangeError(`${where}${name} is ${value?.length} characters long, at most ${MAX_TEXT} are accepted`);
    return value ?? "";
  };
  const count = (name: string, value: number | undefined): number => {
    if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) return value ?? 0;
    throw new RangeError(`${where}${name} is ${value}: want a whole number from 0`);
  };
  const some = <T>(name: string, list: T[] | undefined, max: number): T[] => {
    if ((list?.length ?? 0) <= max) return list ?? [];
    throw new RangeError(`${where}${name} has ${list?.length} elements, at most ${max} are accepted`);
  };
  return {
    ID: text("ID", given.ID, true),
    Process: text("Process", given.Process),
    Proxy: text("Proxy", given.Proxy),
    Service: text("Service", given.Service, true),
    Version: count("Version", given.Version),
    Cuts: some("Cuts", given.Cuts, MAX_CUTS).map((cut, i) => ({
      Version: count(`Cuts[${i}].Version`, cut.Version),
      Source: text(`Cuts[${i}].Source`, cut.Source),
      Count: count(`Cuts[${i}].Count`, cut.Count),
    })),
    Pairs: some("Pairs", given.Pairs, MAX_PAIRS).map((pair, i) => {
      const at = `Pairs[${i}].`;
      if (pair.Direction !== "inbound" && pair.Direction !== "outbound")
        throw new RangeError(`${where}${at}Direction is ${JSON.stringify(pair.Direction)}: want inbound or outbound`);
      return {
        Direction: pair.Direction,
        Source: text(`${at}Source`, pair.Source),
        Destination: text(`${at}Destination`, pair.Destination),
        Open: count(`${at}Open`, pair.Open),
        Bytes: count(`${at}Bytes`, pair.Bytes),
        LastSeen: text(`${at}LastSeen`, pair.LastSeen),
        Refused: count(`${at}Refused`, pair.Refused),
        LastRefused: text(`${at}LastRefused`, pair.LastRefused),
      };
    }),
    ...(given.Gone === true && { Gone: true }),
  };
}
