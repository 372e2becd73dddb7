import { expect, test } from "vitest";
import { chooseSidecar } from "./resolve.ts";

const proxyOf = (ID: string, DestinationServiceID: string, Kind = "connect-proxy") => ({
  ID,
  Kind,
  Service: ID,
  Proxy: { DestinationServiceID },
});

test("the sidecar is the one proxy of that very instance", () => {
  const services = [proxyOf("p1", "db"), proxyOf("p2", "web"), proxyOf("gw", "web", "mesh-gateway")];
  expect(chooseSidecar(services, "web")).toBe("p2");
  expect(() => chooseSidecar(services, "nope")).toThrow("No sidecar proxy registered for nope");
  expect(() => chooseSidecar([...services, proxyOf("p0", "web")], "web")).toThrow(
    "More than one sidecar proxy registered for web.\n    Start proxy with -proxy-id and one of the following IDs: p0, p2",
  );
});
