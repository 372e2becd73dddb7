/** The metrics of a process whose connections are on several threads: one value for all of them. */
import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue, Registry } from "prom-client";

type Family = MetricObjectWithValues<MetricValue<string>>;

export class ThreadedRegistry extends Registry {
  /** Asks the further threads for theirs. */
  others: () => Promise<Family[][]> = async () => [];

  constructor() {
    super();
    this.setDefaultLabels({ daemon: "connect-proxy" });
  }

  override async metrics(): Promise<string> {
    const others = await this.others();
    if (others.length === 0) return super.metrics();
    const own = await this.getMetricsAsJSON();
    // What threads do not have is the process's, and said once.
    const shared = new Set(others.flat().map(({ name }) => name));
    const alone = own.filter(({ name }) => !shared.has(name));
    const merged = AggregatorRegistry.aggregate([own.filter(({ name }) => shared.has(name)), ...others]);
    const texts = await Promise.all([merged.metrics(), ...alone.map(({ name }) => this.getSingleMetricAsString(name))]);
    return `${texts.map((text) => text.trimEnd()).join("\n\n")}\n`;
  }
}
