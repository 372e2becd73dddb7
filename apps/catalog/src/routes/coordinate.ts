/** /v1/coordinate: where the nodes are on the network's map. */
import { type ApiTable, decodeBody, readBody, refusal, replyEmpty, reply, type Spec } from "@heddle/daemon";
import { type Ask, read } from "../blocking.ts";
import { type Coordinate, type CoordinateBatch, coordinateRows, coordinatesOf, ORIGIN } from "../coordinates.ts";
import type { CatalogDeps } from "../deps.ts";
import { requireOwnNode } from "../own-node.ts";
import { COORDINATES, NODES, type CoordinateRecord } from "../records.ts";
import { questionKey } from "./reads.ts";

const DIMENSIONS = 8;
const MAX_BODY = 64 * 1024;
export const UPDATE_FIELDS: Record<string, Spec> = {
  Datacenter: "string",
  Node: "string",
  Segment: "string",
  Coord: { object: { Vec: { list: "any" }, Error: "any", Adjustment: "any", Height: "any" } },
};

export function coordinateQuestions({ state }: CatalogDeps): Record<string, Ask> {
  const ofSegment = (query: URLSearchParams) => {
    const segment = query.get("segment");
    return (record: CoordinateRecord) => segment === null || record.Segment === segment;
  };
  return {
    "/v1/coordinate/nodes": ({ query }) => ({
      key: questionKey("/v1/coordinate/nodes", query),
      topics: [COORDINATES, NODES],
      compute: () => coordinateRows(state).filter(ofSegment(query)),
    }),
    "/v1/coordinate/node/": ({ query, rest }) => ({
      key: questionKey(`/v1/coordinate/node/${rest}`, query),
      topics: [COORDINATES, NODES],
      compute: () => {
        const found = coordinatesOf(state, rest).filter(ofSegment(query));
        return found.length === 0 ? undefined : found;
      },
    }),
  };
}

export function coordinateTable(deps: CatalogDeps, batch: CoordinateBatch): ApiTable {
  const { state, datacenter, log, nodeName } = deps;
  const reads = Object.fromEntries(
    Object.entries(coordinateQuestions(deps)).map(([path, ask]) => [
      path,
      { GET: read(state, ask, { consistency: false }) },
    ]),
  );
  return {
    ...reads,
    "/v1/coordinate/datacenters": {
      GET: (request) => {
        const [own] = coordinatesOf(state, nodeName);
        const here = { Node: nodeName, Segment: "", Coord: own?.Coord ?? ORIGIN };
        reply(request, [{ Datacenter: datacenter, AreaID: "wan", Coordinates: [here] }]);
      },
    },
    "/v1/coordinate/update": {
      PUT: async (request) => {
        const body = decodeBody(await readBody(request.req, MAX_BODY), UPDATE_FIELDS);
        const Coord = toCoordinate((body["Coord"] ?? {}) as Record<keyof Coordinate, unknown>);
        const Node = (body["Node"] as string | undefined) ?? "";
        requireOwnNode(request.req, { Node }, { store: state.store, log });
        if (state.node(Node)) batch.add({ Node, Segment: (body["Segment"] as string | undefined) ?? "", Coord });
        replyEmpty(request);
      },
    },
  };
}

function toCoordinate(given: Record<keyof Coordinate, unknown>): Coordinate {
  const number = (value: unknown, field: string): number => {
    if (value === undefined || value === null) return 0;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw refusal(
      400,
      `Request decode failed: json: cannot unmarshal ${typeof value} into Go struct field Coordinate.Coord.${field} of type float64`,
    );
  };
  const Vec = ((given.Vec as unknown[] | undefined) ?? []).map((v) => number(v, "Vec"));
  if (Vec.length !== DIMENSIONS) throw refusal(500, "incompatible coordinate");
  return {
    Vec,
    Error: number(given.Error, "Error"),
    Adjustment: number(given.Adjustment, "Adjustment"),
    Height: number(given.Height, "Height"),
  };
}
