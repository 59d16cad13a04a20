/**
 * Turns the schema library's issues into findings: sentences that say what was expected and what was
 * given, with the nearest valid name. Places in the file are added later, by whoever read it.
 */
import * as z from "zod";
import { type ConfigPath, describeValue, nearestName, quoted } from "./problems.ts";
import {
  allowedText,
  allowedWords,
  isSecret,
  objectForms,
  orNames,
  requiredNames,
  schemaBelow,
  unwrap,
} from "./shape.ts";
import { NOT_ALLOWED } from "./values.ts";

/** A problem that does not know its line yet. */
export interface Finding {
  readonly path: ConfigPath;
  /** Which part of the place is meant: a name that should not be there, or a value. */
  readonly part: "key" | "value";
  readonly message: string;
  readonly severity: "error" | "warning";
}

/** An error at the value of `path`. */
export function errorAt(path: ConfigPath, message: string): Finding {
  return { path, part: "value", message, severity: "error" };
}

/** A warning at the value of `path`. */
export function warningAt(path: ConfigPath, message: string): Finding {
  return { path, part: "value", message, severity: "warning" };
}

/** The findings of issues that `schema` raised about `value`, which stands at `base` in the config. */
export function findingsOf(
  issues: readonly z.core.$ZodIssue[],
  schema: z.core.$ZodType,
  value: unknown,
  base: ConfigPath,
): Finding[] {
  return issues.flatMap((issue) => findingsOfIssue(issue, schema, value, base, stepsOf(issue)));
}

function stepsOf(issue: z.core.$ZodIssue): ConfigPath {
  return issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
}

function keyError(path: ConfigPath, message: string): Finding {
  return { path, part: "key", message, severity: "error" };
}

function findingsOfIssue(
  issue: z.core.$ZodIssue,
  root: z.core.$ZodType,
  rootValue: unknown,
  base: ConfigPath,
  steps: ConfigPath,
): Finding[] {
  const path = [...base, ...steps];
  if (issue.code === "invalid_key") return [invalidKey(root, base, steps)];
  const place = descend(root, rootValue, steps);
  if (place === null) return [errorAt(path, issue.message)];
  const { schema, value } = place;
  switch (issue.code) {
    case "unrecognized_keys":
      return unknownSettings(issue.keys, schema, value, path);
    case "invalid_union":
      return unionFindings(issue, schema, value, path);
    case "too_big":
      if (Array.isArray(value)) {
        return [errorAt(path, `holds ${value.length} items; at most ${String(issue.maximum)} are allowed`)];
      }
      return [errorAt(path, expected(schema, value))];
    case "custom":
      if (issue.message === NOT_ALLOWED) return [errorAt(path, expected(schema, value))];
      return [errorAt(path, issue.message)];
    default:
      return [errorAt(path, expected(schema, value))];
  }
}

/** `expected ...; got ...`, with the nearest allowed word. */
function expected(schema: z.core.$ZodType, value: unknown): string {
  const allowed = allowedText(schema);
  if (value === undefined) return `is missing; expected ${allowed}`;
  if (isSecret(schema) && typeof value === "string") {
    return `expected ${allowed}; got a text of ${value.length} characters`;
  }
  if (isSecret(schema) && typeof value === "number") return `expected ${allowed}; got a number`;
  if (typeof value === "number" && allowedWords(schema).includes(String(value))) {
    return `expected ${allowed}; got the number ${value}: write it in quotes`;
  }
  const near =
    typeof value === "string" || typeof value === "number"
      ? nearestName(String(value), allowedWords(schema))
      : null;
  const hint = near === null ? "" : `; did you mean ${quoted(near)}?`;
  return `expected ${allowed}; got ${describeValue(value)}${hint}`;
}

function invalidKey(root: z.core.$ZodType, base: ConfigPath, steps: ConfigPath): Finding {
  const path = [...base, ...steps];
  const key = String(steps.at(-1));
  const record = descend(root, undefined, steps.slice(0, -1));
  const schema = record === null ? null : unwrap(record.schema).schema;
  const allowed = schema instanceof z.ZodRecord ? allowedText(schema.keyType) : "another name";
  return keyError(path, `${quoted(key)} is not allowed as a name here; expected ${allowed}`);
}

/** The form of a union that a value was meant to be: the one whose first required name it holds. */
function formsMeant(forms: readonly z.ZodObject[], value: Record<string, unknown>): z.ZodObject[] {
  return forms.filter((form) => requiredNames(form).some((name) => Object.hasOwn(value, name)));
}

/** Names that the form of `schema` that `value` was meant to be does not have. */
function unknownSettings(
  keys: readonly string[],
  schema: z.core.$ZodType,
  value: unknown,
  path: ConfigPath,
): Finding[] {
  const forms = objectForms(schema);
  const meant = isRecord(value) ? formsMeant(forms, value) : [];
  const names = namesOf(meant.length === 0 ? forms : meant);
  const elsewhere = new Set(namesOf(forms));
  return keys.map((key) => {
    const form = meant[0];
    const mark = form === undefined ? undefined : requiredNames(form)[0];
    if (mark !== undefined && elsewhere.has(key)) {
      return keyError([...path, key], `${quoted(key)} cannot stand beside ${quoted(mark)}`);
    }
    const near = nearestName(key, names);
    const hint = near === null ? `allowed here: ${names.join(", ")}` : `did you mean ${quoted(near)}?`;
    return keyError([...path, key], `unknown setting ${quoted(key)}; ${hint}`);
  });
}

function namesOf(forms: readonly z.ZodObject[]): string[] {
  return [...new Set(forms.flatMap((form) => Object.keys(form.shape)))];
}

/** Says what is wrong with the form of a union that the value was meant to be. */
function unionFindings(
  issue: z.core.$ZodIssueInvalidUnion,
  schema: z.core.$ZodType,
  value: unknown,
  path: ConfigPath,
): Finding[] {
  const forms = objectForms(schema);
  if (!isRecord(value) || forms.length === 0) {
    return [listItemFault(schema, value, path) ?? errorAt(path, expected(schema, value))];
  }
  const heads = forms.flatMap((form) => requiredNames(form).slice(0, 1));
  const [form, ...others] = formsMeant(forms, value);
  if (others.length > 0) {
    return [errorAt(path, `holds more than one of ${orNames(heads)}; exactly one is allowed`)];
  }
  if (form === undefined) {
    const names = namesOf(forms);
    const mistyped = Object.keys(value).filter(
      (key) => !names.includes(key) && nearestName(key, names) !== null,
    );
    if (mistyped.length > 0) return unknownSettings(mistyped, schema, value, path);
    // Of many forms the names that tell them apart say more than all that they may hold.
    const allowed = heads.length > 2 ? "exactly one of them" : allowedText(schema);
    return [errorAt(path, `is missing ${orNames(heads)}; expected ${allowed}`)];
  }
  const result = form.safeParse(value);
  if (result.success) return [errorAt(path, issue.message)];
  return result.error.issues.flatMap((inner) => {
    const steps = stepsOf(inner);
    if (inner.code === "unrecognized_keys" && steps.length === 0) {
      return unknownSettings(inner.keys, schema, value, path);
    }
    return findingsOfIssue(inner, form, value, path, steps);
  });
}

/** For a list that is one form of a union: the first of its items that is wrong. */
function listItemFault(schema: z.core.$ZodType, value: unknown, path: ConfigPath): Finding | null {
  const { schema: union } = unwrap(schema);
  if (!Array.isArray(value) || !(union instanceof z.ZodUnion)) return null;
  const list = union.options
    .map((option) => unwrap(option).schema)
    .find((option) => option instanceof z.ZodArray);
  const index = list?.safeParse(value).error?.issues[0]?.path[0];
  if (!(list instanceof z.ZodArray) || typeof index !== "number") return null;
  return errorAt([...path, index], expected(list.element, value[index]));
}

function descend(
  root: z.core.$ZodType,
  rootValue: unknown,
  steps: ConfigPath,
): { schema: z.core.$ZodType; value: unknown } | null {
  let schema = root;
  let value = rootValue;
  for (const step of steps) {
    const below = schemaBelow(schema, step);
    if (below === null) return null;
    schema = below;
    value = valueBelow(value, step);
  }
  return { schema, value };
}

function valueBelow(value: unknown, step: string | number): unknown {
  if (Array.isArray(value)) return typeof step === "number" ? value[step] : undefined;
  return isRecord(value) && Object.hasOwn(value, step) ? value[step] : undefined;
}

/** True for an object that is no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
