/** What an agent tells the catalog of services and checks that have changed: registrations that only touch what is theirs. */
import type { HealthCheck, NodeService } from "@heddle/service-definition";
import type { LocalState, Source } from "./local-state.ts";

export interface Registration {
  Node: string;
  Address: string;
  SkipNodeUpdate: true;
  Owner: "agent" | "file";
  KeepOutput: boolean;
  KeepTags: boolean;
  Service?: Omit<NodeService, "Meta"> & { Meta: NodeService["Meta"] | null };
  Checks: (HealthCheck & { ReapAfterMs?: number })[];
}

export interface RegistrationsOptions {
  state: LocalState;
  node: { Node: string; Address: string };
  /** Whether a check is in the catalog as it is here. */
  isSynced: (checkId: string) => boolean;
}

/** One for each service, with those of its checks that wait too, and for each check that is left. */
export function toRegistrations(
  { services, checks }: { services: readonly string[]; checks: ReadonlySet<string> },
  { state, node, isSynced }: RegistrationsOptions,
): Registration[] {
  const left = new Map<string, Registration["Checks"]>();
  for (const id of checks) {
    const check = toCheck(id, state);
    // Without its service, which is gone meanwhile, the catalog took the check away too.
    if (!check || (check.ServiceID !== "" && !state.service(check.ServiceID))) continue;
    left.set(check.ServiceID, [...(left.get(check.ServiceID) ?? []), check]);
  }
  const headOf = (source: Source = "api") => {
    const Owner = source === "file" ? ("file" as const) : ("agent" as const);
    const { Node, Address } = node;
    return { Node, Address, SkipNodeUpdate: true as const, Owner, KeepOutput: false, KeepTags: true };
  };
  const ofServices = services.flatMap((id) => {
    const service = state.nodeService(id);
    if (!service) return [];
    const Checks = left.get(id) ?? [];
    left.delete(id);
    // A service without metadata has null there in the catalog, and {} at its agent.
    const Service = Object.keys(service.Meta).length > 0 ? service : { ...service, Meta: null };
    const head = { ...headOf(state.service(id)?.source), KeepTags: !state.hasNewTags(id) };
    return split({ ...head, Service, Checks }, isSynced);
  });
  const alone = [...left.values()].flat();
  return [
    ...ofServices,
    ...alone.flatMap((check) => split({ ...headOf(state.check(check.CheckID)?.source), Checks: [check] }, isSynced)),
  ];
}

function toCheck(id: string, state: LocalState): Registration["Checks"][number] | undefined {
  const check = state.healthCheck(id);
  const ReapAfterMs = state.check(id)?.definition.DeregisterCriticalServiceAfterMs;
  return check && (ReapAfterMs ? { ...check, ReapAfterMs } : check);
}

/** Checks that have not changed here go apart: their output alone is no reason to write. */
function split(registration: Registration, isSynced: RegistrationsOptions["isSynced"]): Registration[] {
  const { Service, Checks, ...head } = registration;
  const unchanged = Checks.filter((check) => isSynced(check.CheckID));
  if (unchanged.length === 0) return [registration];
  const changed = Checks.filter((check) => !unchanged.includes(check));
  const rest = { ...head, KeepOutput: true, Checks: unchanged };
  return Service || changed.length > 0 ? [{ ...head, ...(Service && { Service }), Checks: changed }, rest] : [rest];
}
