/** A request for a drill, as `POST /v1/drills` takes it, held against the sites in force. */
import * as z from "zod";
import { ProximaError } from "../base/errors.ts";
import { memberName } from "../config/origins.ts";
import type { Config, SiteConfig } from "../config/schema.ts";
import type { FaultKind } from "../upstream/faults.ts";

/** The longest drill, in seconds. */
const SECONDS_MAX = 3_600;

const requestSchema = z.strictObject({
  site: z.string().max(200),
  group: z.string().max(200).optional(),
  origin: z.string().max(200).optional(),
  fault: z.enum(["refuse", "delay", "5xx", "cut"]).prefault("refuse"),
  seconds: z.number().min(0.1).max(SECONDS_MAX).prefault(30),
});

/** A drill that can be begun. */
export interface DrillRequest {
  readonly site: string;
  readonly group: string | null;
  readonly origin: string;
  readonly fault: FaultKind;
  readonly seconds: number;
}

/** Reads the body. Throws a ProximaError (source viewer) that says what is wrong. */
export function readDrill(body: unknown, sites: Config["sites"]): DrillRequest {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(`${issue?.path.join(".") || "the body"}: ${issue?.message ?? "not a drill"}`);
  }
  const { site, fault, seconds } = parsed.data;
  const config = Object.hasOwn(sites, site) ? sites[site] : undefined;
  if (config === undefined) throw invalid(`site: there is no site "${site}"`);
  return { site, fault, seconds, ...chosen(site, config, parsed.data) };
}

/** Which origin is meant: the named one, or the first of the named or only group. */
function chosen(
  site: string,
  config: SiteConfig,
  asked: { readonly group?: string | undefined; readonly origin?: string | undefined },
): { group: string | null; origin: string } {
  const groups = Object.keys(config.originGroups);
  if (asked.group !== undefined && !groups.includes(asked.group))
    throw invalid(`group: site ${site} has no group "${asked.group}"`);
  const holding = (origin: string) =>
    groups.find((name) => config.originGroups[name]?.members.some((one) => memberName(one) === origin)) ??
    null;
  if (asked.origin !== undefined) {
    if (!Object.hasOwn(config.origins, asked.origin))
      throw invalid(`origin: site ${site} has no origin "${asked.origin}"`);
    return { group: asked.group ?? holding(asked.origin), origin: asked.origin };
  }
  if (asked.group === undefined && groups.length !== 1) {
    throw invalid(
      groups.length === 0
        ? `origin: missing; site ${site} has no group of origins`
        : `group: missing; site ${site} has several: ${groups.join(", ")}`,
    );
  }
  const group = asked.group ?? (groups[0] as string);
  const [first] = config.originGroups[group]?.members ?? [];
  if (first === undefined) throw invalid(`group: "${group}" has no members`);
  return { group, origin: memberName(first) };
}

function invalid(message: string): ProximaError {
  return new ProximaError("invalid_drill", message, { source: "viewer" });
}
