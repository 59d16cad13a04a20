/** From a message of some content system to purges: which rules fit it, and what they make of it. Pure. */
import * as z from "zod";
import { siteId } from "../../config/values.ts";
import { SIGNATURE_KINDS } from "../../service/webhook-signature.ts";
import { Refused } from "../refusal.ts";
import { Effort, expand, readPath, readTemplate, type TemplateKind, valuesAt } from "./template.ts";

/** Rules of a hook, conditions of a rule, templates of one kind in a rule, values of a condition. */
const RULES_MAX = 50;
const CONDITIONS_MAX = 10;
const TEMPLATES_MAX = 20;
const VALUES_MAX = 50;
/** Targets that one message may make of one scope: as many as one purge has. */
export const HOOK_TARGETS_MAX = 10_000;
/** Reasons that are told. */
const SKIPPED_MAX = 50;

const scalar = z.union([z.string().max(500), z.number(), z.boolean(), z.null()]);
const templates = (kind: TemplateKind) =>
  z
    .array(
      z
        .string()
        .min(1)
        .max(1_000)
        .superRefine((text, context) => {
          const read = readTemplate(text, kind);
          if (typeof read === "string") context.addIssue({ code: "custom", message: `"${text}" ${read}` });
        }),
    )
    .min(1)
    .max(TEMPLATES_MAX)
    .optional();

const rule = z
  .strictObject({
    when: z
      .record(z.string().max(200), z.union([scalar, z.array(scalar).min(1).max(VALUES_MAX)]))
      .refine((when) => Object.keys(when).length <= CONDITIONS_MAX, {
        error: `has more than ${CONDITIONS_MAX} conditions`,
      })
      .refine((when) => Object.keys(when).every((path) => readPath(path) !== null), {
        error: "names what is no path such as entry.kind",
      })
      .optional()
      .describe("Values, by path: all must be there. Left out: any message."),
    urls: templates("url"),
    prefixes: templates("prefix"),
    tags: templates("tag"),
    everything: z.literal(true).optional(),
    mode: z.enum(["hard", "soft"]).prefault("hard"),
  })
  .refine((one) => one.urls ?? one.prefixes ?? one.tags ?? one.everything, {
    error: "purges nothing: give urls, prefixes, tags or everything",
  });

/** What a hook does with messages. */
export const hookConfig = z
  .strictObject({
    site: siteId,
    signatures: z
      .array(z.enum(SIGNATURE_KINDS))
      .min(1)
      .max(SIGNATURE_KINDS.length)
      .prefault(["standard", "proxima"])
      .describe(
        "Ways to sign that it takes. hub (X-Hub-Signature-256) knows no time: a recorded message is good again.",
      ),
    rules: z.array(rule).min(1).max(RULES_MAX),
  })
  .meta({ id: "HookConfig" });
/** What a hook does with messages. */
export type HookConfig = z.infer<typeof hookConfig>;

/** A purge that a message asks for. */
export interface MappedPurge {
  readonly site: string;
  readonly scope: "url" | "prefix" | "tag" | "everything";
  readonly mode: "hard" | "soft";
  readonly targets: readonly string[];
}

/** What a message comes to. */
export interface Mapped {
  /** How many rules fit. */
  readonly matched: number;
  readonly purges: readonly MappedPurge[];
  /** Why templates made nothing. */
  readonly skipped: readonly string[];
}

const KINDS = [
  ["url", "urls"],
  ["prefix", "prefixes"],
  ["tag", "tags"],
] as const;

/** Holds a message against the rules. Throws a Refused 422 when it makes too many targets, or too much work. */
export function mapMessage(config: HookConfig, message: unknown): Mapped {
  const found = new Map<
    string,
    { scope: MappedPurge["scope"]; mode: MappedPurge["mode"]; targets: Set<string> }
  >();
  const skipped = new Set<string>();
  const effort = new Effort();
  let matched = 0;
  for (const one of config.rules) {
    const isFit = fits(one.when ?? {}, message, effort);
    mustNotBeSpent(effort);
    if (!isFit) continue;
    matched++;
    const into = (scope: MappedPurge["scope"]): Set<string> => {
      const key = `${scope} ${one.mode}`;
      const known = found.get(key) ?? { scope, mode: one.mode, targets: new Set<string>() };
      found.set(key, known);
      return known.targets;
    };
    if (one.everything === true) into("everything");
    for (const [kind, member] of KINDS)
      for (const text of one[member] ?? []) {
        const template = readTemplate(text, kind);
        if (typeof template === "string") continue;
        const made = expand(template, message, HOOK_TARGETS_MAX, effort);
        mustNotBeSpent(effort);
        for (const reason of made.skipped) skipped.add(`${text}: ${reason}`);
        if (made.targets.length === 0) continue;
        const targets = into(kind);
        for (const target of made.targets) targets.add(target);
        if (made.isOver || targets.size > HOOK_TARGETS_MAX)
          throw new Refused(422, `the message makes more than ${HOOK_TARGETS_MAX} ${member}`);
      }
  }
  const purges = [...found.values()].map(
    ({ scope, mode, targets }): MappedPurge => ({ site: config.site, scope, mode, targets: [...targets] }),
  );
  return { matched, purges, skipped: [...skipped].slice(0, SKIPPED_MAX) };
}

type When = NonNullable<HookConfig["rules"][number]["when"]>;

function fits(when: When, message: unknown, effort: Effort): boolean {
  return Object.entries(when).every(([path, wanted]) => {
    const allowed: readonly unknown[] = Array.isArray(wanted) ? wanted : [wanted];
    return valuesAt(message, readPath(path) ?? [], effort).some((value) => allowed.includes(value));
  });
}

function mustNotBeSpent(effort: Effort): void {
  if (effort.isSpent)
    throw new Refused(
      422,
      "the message is too much work for the hook's rules: its lists are too long for so many conditions and templates",
    );
}
