/** What the CA tells Prometheus. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Clock } from "@heddle/daemon";
import { certificatesToDer, daysLeft, readCertificate } from "@heddle/tls";
import type { Authority } from "./authority.ts";
import type { Revocations } from "./revocations.ts";

export interface CaMetrics {
  signed(seconds: number): void;
  /** `code` is the error's, one of a dozen. */
  refused(code: string): void;
}

const SIGN_SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1];

export function createCaMetrics(registry: Registry): CaMetrics {
  const signed = new Counter({
    name: "heddle_ca_certificates_signed_total",
    help: "Certificates signed.",
    registers: [registry],
  });
  const refused = new Counter({
    name: "heddle_ca_requests_refused_total",
    help: "Certificate requests refused, by the error's code.",
    labelNames: ["code"],
    registers: [registry],
  });
  const seconds = new Histogram({
    name: "heddle_ca_sign_seconds",
    help: "Time from a request to its certificate, with the wait for the rate limit.",
    buckets: SIGN_SECONDS_BUCKETS,
    registers: [registry],
  });
  return {
    signed(took) {
      signed.inc();
      seconds.observe(took);
    },
    refused: (code) => refused.inc({ code }),
  };
}

/** When roots and what leads from one to another expire, told anew for each scrape: the list is as long as the roots'. */
export function registerRootExpiry(registry: Registry, authority: Authority, clock: Clock): void {
  new Gauge({
    name: "heddle_ca_root_not_after_seconds",
    help: "Unix time at which the active root expires.",
    registers: [registry],
    collect() {
      this.set(authority.activeRoot.validity.notAfter / 1_000);
    },
  });
  new Gauge({
    name: "heddle_ca_certificate_days_left",
    help: "Days left of each root, of the intermediate that signs for it, and of the bridges that lead from it to roots before it.",
    labelNames: ["root", "kind", "active"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { key, value } of authority.roots()) {
        const labels = { root: key, active: String(value.isActive) };
        this.set({ ...labels, kind: "root" }, left(value.certPem));
        // A bridge lives for days, until everybody knows the new root: nobody is to be woken for its end.
        for (const pem of value.intermediates)
          this.set({ ...labels, kind: pem === value.intermediatePem ? "intermediate" : "bridge" }, left(pem));
      }
    },
  });
  const left = (pem: string) => daysLeft(readCertificate(certificatesToDer(pem)[0] as Buffer), clock.now());
}

export function registerRevocations(registry: Registry, revocations: Revocations): void {
  new Gauge({
    name: "heddle_ca_revocations",
    help: "Certificates and services that are revoked.",
    labelNames: ["kind"],
    registers: [registry],
    collect() {
      const { Serials, Services } = revocations.list.answer;
      this.set({ kind: "serial" }, Serials.length);
      this.set({ kind: "service" }, Services.filter(({ Reinstated }) => !Reinstated).length);
    },
  });
}
