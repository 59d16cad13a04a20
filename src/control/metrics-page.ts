/** The metrics page of a control plane (Prometheus text format 0.0.4). Labels come from bounded sets. */
import { MetricsPage } from "../telemetry/prometheus.ts";
import type { ControlParts } from "./parts.ts";

/** Nodes with a label of their own; further ones are left out. */
const LABELLED_NODES_MAX = 1_000;

/** Writes it. */
export function controlMetrics(parts: ControlParts): string {
  const { nodes, log, purges, rollouts, webhooks, meters, clock, sites } = parts;
  const page = new MetricsPage();
  page.gauge("control_build_info", "Version of the program; the value is always 1.", [
    [{ version: parts.version }, 1],
  ]);
  page.gauge("control_start_time_seconds", "Start of the control plane, seconds since the Unix epoch.", [
    [{}, meters.startedMs / 1_000],
  ]);
  const all = nodes.all();
  const count = (state: string): number => all.filter((node) => node.state === state).length;
  page.gauge("control_nodes", "Nodes by state.", [
    [{ state: "reachable" }, count("reachable")],
    [{ state: "unreachable" }, count("unreachable")],
  ]);
  page.gauge("control_nodes_drained", "Nodes that no viewers are to be sent to.", [
    [{}, all.filter(({ drained }) => drained).length],
  ]);
  const head = log.head().sequence;
  page.gauge("control_log_head", "Number of the newest entry of the fleet's log.", [[{}, head]]);
  const bus = meters.bus?.() ?? null;
  if (bus !== null) {
    page.gauge(
      "control_bus_fed",
      "1: what is new in the log goes to the bus; 0: the log of the program says why not.",
      [[{}, bus.published !== null && bus.problem === null ? 1 : 0]],
    );
    page.gauge("control_bus_behind", "Entries of the fleet's log that are not on the bus yet.", [
      [{}, log.behind(bus.published ?? 0)],
    ]);
  }
  const labelled = all.slice(0, LABELLED_NODES_MAX);
  page.gauge(
    "control_node_log_behind",
    "Entries of the fleet's log that a node has not applied yet, as last heard.",
    labelled.map((node) => [{ node: node.name }, log.behind(node.applied)]),
  );
  page.gauge(
    "control_node_silent_seconds",
    "Time since a node was heard of.",
    labelled.flatMap((node) =>
      node.seenAt === null
        ? []
        : [[{ node: node.name }, Math.max(0, clock.now() - Date.parse(node.seenAt)) / 1_000] as const],
    ),
  );
  page.gauge(
    "control_node_snapshot",
    "Number of the snapshot that a node has in force.",
    labelled.map((node) => [{ node: node.name }, node.report?.snapshot.number ?? 0]),
  );
  page.gauge("control_snapshot_number", "Number of the newest snapshot.", [
    [{}, sites.newestSnapshot()?.number ?? 0],
  ]);
  page.gauge("control_polls_waiting", "Requests that wait for changes.", [[{}, log.waiting]]);
  page.histogram("control_purge_applied_seconds", "From the order of a purge to the news of the last node.", [
    [{}, meters.purges.snapshot()],
  ]);
  page.gauge("control_purges_open", "Purges that some node has not applied yet.", [[{}, purges.open()]]);
  page.counter(
    "control_requests_total",
    "Answers of the API, by route and status.",
    meters.answers().map(({ route, status, count: n }) => [{ route, status: String(status) }, n]),
  );
  page.gauge(
    "control_rollouts",
    "Roll-outs by state, of those that can be asked for.",
    Object.entries(rollouts.states()).map(([state, n]) => [{ state }, n]),
  );
  page.gauge(
    "control_webhook_deliveries",
    "Deliveries to webhooks by state, of those that are kept.",
    Object.entries(webhooks.states()).map(([state, n]) => [{ state }, n]),
  );
  return page.text;
}
