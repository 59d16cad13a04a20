/** What an audit found, for programs and for people. */
import { plainText, styleFor } from "../io.ts";
import { number } from "../warm/tally.ts";
import type { CrawlFailure, CrawlLimits, CrawlResult, Cut } from "./crawler.ts";
import { type Finding, type FindingId, KINDS, LEVELS, type Level } from "./finding.ts";

/** Places of one kind of finding that a program is told, and a person. */
const PLACES_MAX = 100;
const PLACES_SHOWN = 5;
const URL_SHOWN_MAX = 160;
const HOSTS_SHOWN = 5;

/** All places of one kind of finding. */
export interface ReportedKind {
  readonly id: FindingId;
  readonly level: Level;
  readonly title: string;
  readonly fix: string;
  readonly count: number;
  readonly places: readonly { readonly url: string; readonly detail: string }[];
}

/** The report. */
export interface AuditReport {
  readonly urls: readonly string[];
  readonly answered: number;
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly limits: CrawlLimits;
  /** How many URLs each limit left out or cut; empty when everything was looked at. */
  readonly cut: Readonly<Partial<Record<Cut, number>>>;
  /** Other hosts that were linked to. */
  readonly elsewhere: readonly { readonly host: string; readonly count: number }[];
  readonly failed: number;
  readonly failures: readonly CrawlFailure[];
  /** Places by level. */
  readonly counts: Readonly<Record<Level, number>>;
  /** The gravest first, the most frequent first. */
  readonly findings: readonly ReportedKind[];
}

/** Makes the report. */
export function reportOf(
  urls: readonly string[],
  result: CrawlResult,
  limits: CrawlLimits,
  seconds: number,
): AuditReport {
  const byId = new Map<FindingId, Finding[]>();
  for (const finding of result.findings) byId.set(finding.id, [...(byId.get(finding.id) ?? []), finding]);
  const findings = [...byId].map(([id, places]): ReportedKind => {
    const { level, title, fix } = KINDS[id];
    return {
      id,
      level,
      title,
      fix,
      count: places.length,
      places: places.slice(0, PLACES_MAX).map(({ url, detail }) => ({ url, detail })),
    };
  });
  findings.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) || b.count - a.count);
  const countOf = (level: Level) =>
    findings.filter((one) => one.level === level).reduce((sum, { count }) => sum + count, 0);
  return {
    urls,
    answered: result.answered,
    requests: result.requests,
    bytes: result.bytes,
    seconds: Math.round(seconds * 1_000) / 1_000,
    limits,
    cut: result.cut,
    elsewhere: [...result.elsewhere]
      .map(([host, count]) => ({ host, count }))
      .sort((a, b) => b.count - a.count)
      .slice(0, PLACES_MAX),
    failed: result.failed,
    failures: result.failures,
    counts: { error: countOf("error"), warning: countOf("warning"), notice: countOf("notice") },
    findings,
  };
}

/** The report for a person. */
export function formatReport(report: AuditReport, color: boolean): string {
  const style = styleFor(color);
  const { answered, requests, seconds, counts } = report;
  const total = counts.error + counts.warning + counts.notice;
  const lines = [
    `${style.bold(many(answered, "URL"))} in ${seconds.toFixed(1)} s, ${many(requests, "request")}: ${
      total === 0
        ? "nothing found"
        : `${many(counts.error, "error")}, ${many(counts.warning, "warning")}, ${many(counts.notice, "notice")}`
    }`,
  ];
  for (const { id, level, title, fix, count, places } of report.findings) {
    lines.push("", `${style.bold(level)} ${id}: ${title}`, `  ${style.dim(`fix: ${fix}`)}`);
    for (const { url, detail } of places.slice(0, PLACES_SHOWN))
      lines.push(`  ${shown(url)}  ${style.dim(plainText(detail))}`);
    if (count > PLACES_SHOWN) lines.push(`  and ${number(count - PLACES_SHOWN)} more`);
  }
  const remarks = [...cutLines(report), ...elsewhereLines(report), ...failureLines(report)];
  if (remarks.length > 0) lines.push("", ...remarks);
  return `${lines.join("\n")}\n`;
}

/** What each limit cut, with the option that moves it. */
function cutLines({ cut, limits }: AuditReport): string[] {
  const sentences: Readonly<Record<Cut, (count: number) => string>> = {
    urls: (count) => `${many(count, "URL")} left out: the limit is ${number(limits.urlsMax)} (--max-urls)`,
    depth: (count) =>
      `${many(count, "URL")} left out: more than ${many(limits.depthMax, "link")} away (--depth)`,
    bytes: (count) =>
      `${many(count, "URL")} left out: ${number(limits.bytesMax)} bytes were read (--max-bytes)`,
    time: (count) => `${many(count, "URL")} left out: ${limits.timeMs / 1_000} s were over (--time)`,
    body: (count) => `${many(count, "body", "bodies")} cut: too long to be compared or searched for links`,
    redirects: (count) => `${many(count, "redirect")} not followed: too many one after the other`,
    stopped: (count) => `${many(count, "URL")} left out: stopped`,
  };
  return (Object.keys(sentences) as Cut[]).flatMap((name) => {
    const count = cut[name];
    return count === undefined ? [] : [sentences[name](count)];
  });
}

function elsewhereLines({ elsewhere }: AuditReport): string[] {
  if (elsewhere.length === 0) return [];
  const hosts = elsewhere.slice(0, HOSTS_SHOWN).map(({ host }) => plainText(host));
  const more = elsewhere.length > HOSTS_SHOWN ? ` and ${elsewhere.length - HOSTS_SHOWN} more` : "";
  return [`not followed to other hosts: ${hosts.join(", ")}${more}`];
}

function failureLines({ failed, failures }: AuditReport): string[] {
  if (failed === 0) return [];
  return [
    `${many(failed, "URL")} without an answer:`,
    ...failures.slice(0, PLACES_SHOWN).map(({ url, problem }) => `  ${shown(url)}  ${plainText(problem)}`),
  ];
}

function many(count: number, noun: string, nouns = `${noun}s`): string {
  return `${number(count)} ${count === 1 ? noun : nouns}`;
}

function shown(url: string): string {
  return plainText(url.length > URL_SHOWN_MAX ? `${url.slice(0, URL_SHOWN_MAX)}...` : url);
}
