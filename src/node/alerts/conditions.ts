/** What is not as it should be, by the rules. Pure functions of what a node knows. */
import type { AlertsConfig } from "../../config/schema.ts";
import type { CertificateEnd } from "../../edge/tls/material.ts";
import type { Condition } from "./alert.ts";
import type { SiteTraffic } from "./traffic.ts";

const DAY_MS = 86_400_000;

/** Certificates that end within the rule's days, or have ended. */
export function certificateConditions(
  rule: AlertsConfig["rules"]["certificate"],
  ends: readonly CertificateEnd[],
  nowMs: number,
): Condition[] {
  return ends.flatMap(({ file, names, endsAtMs }) => {
    const leftMs = endsAtMs - nowMs;
    if (leftMs > rule.days * DAY_MS) return [];
    const day = new Date(endsAtMs).toISOString();
    const shown =
      names.length === 0 ? "" : ` (${names.slice(0, 3).join(", ")}${names.length > 3 ? ", ..." : ""})`;
    const days = Math.max(0, Math.floor(leftMs / DAY_MS));
    return [
      {
        kind: "certificate",
        subject: file,
        severity: leftMs <= (rule.days * DAY_MS) / 4 ? "critical" : "warning",
        summary:
          leftMs <= 0
            ? `the certificate ${file}${shown} has ended on ${day}`
            : `the certificate ${file}${shown} ends in ${days} ${days === 1 ? "day" : "days"}, on ${day}`,
        details: { file, endsAt: day, daysLeft: Math.floor(leftMs / DAY_MS) },
      },
    ];
  });
}

/** Sites whose hit ratio is below the limit, or far below what is usual for them. */
export function hitRatioConditions(
  rule: AlertsConfig["rules"]["hitRatio"],
  traffic: readonly SiteTraffic[],
): Condition[] {
  return traffic.flatMap(({ site, window, usualRatio }) => {
    if (window.cacheable < rule.requestsMin) return [];
    const own = Object.hasOwn(rule.bySite, site) ? rule.bySite[site] : undefined;
    const fixed = own ?? rule.below;
    const usual = own !== undefined || usualRatio === null ? 0 : usualRatio * (1 - rule.dropFraction);
    const limit = Math.max(fixed, usual);
    const ratio = window.served / window.cacheable;
    if (ratio >= limit) return [];
    const why =
      usual > fixed && usualRatio !== null
        ? `usual is ${percent(usualRatio)}`
        : `the limit is ${percent(fixed)}`;
    return [
      {
        kind: "hitRatio",
        subject: site,
        severity: "warning",
        summary: `the hit ratio of site ${site} is ${percent(ratio)}; ${why}`,
        details: { site, ratio: rounded(ratio), limit: rounded(limit), requests: window.cacheable },
      },
    ];
  });
}

/** Sites with too many 5xx answers. */
export function errorRateConditions(
  rule: AlertsConfig["rules"]["errorRate"],
  traffic: readonly SiteTraffic[],
): Condition[] {
  return traffic.flatMap(({ site, window }) => {
    if (window.requests < rule.requestsMin) return [];
    const limit = (Object.hasOwn(rule.bySite, site) ? rule.bySite[site] : undefined) ?? rule.above;
    const rate = window.errors / window.requests;
    if (rate <= limit) return [];
    return [
      {
        kind: "errorRate",
        subject: site,
        severity: "critical",
        summary: `${percent(rate)} of the answers of site ${site} are errors (5xx); the limit is ${percent(limit)}`,
        details: { site, rate: rounded(rate), limit, requests: window.requests, errors: window.errors },
      },
    ];
  });
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function rounded(share: number): number {
  return Math.round(share * 10_000) / 10_000;
}
