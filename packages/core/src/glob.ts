/**
 * Patterns over stream paths (protocol section 6.2): `*` is any one segment, `**` any number of them, also none; every
 * other segment stands for itself. A segment `%2A` or `%2A%2A` is the literal that a star would otherwise hide.
 */

const ANY_ONE = "*";
const ANY_NUMBER = "**";
const ESCAPED_STAR = /^(?:%2A){1,2}$/i;

function literal(segment: string): string {
  return ESCAPED_STAR.test(segment) ? ANY_NUMBER.slice(0, segment.length / 3) : segment;
}

/** The pattern's segments; a run of `**` says no more than one, and would cost more. */
function segmentsOf(pattern: string): string[] {
  return pattern.split("/").filter((segment, at, all) => segment !== ANY_NUMBER || all[at - 1] !== ANY_NUMBER);
}

/** Whether `pattern` matches the whole `path`; both canonical. Takes at most pattern segments × path segments steps. */
export function globMatch(pattern: string, path: string): boolean {
  const wanted = segmentsOf(pattern);
  const given = path.split("/");
  let at = 0;
  let retryAt = -1;
  let retryFrom = 0;
  // Only the last `**` passed is ever given more: what lies before it matched in the shortest way that there is.
  for (let from = 0; from < given.length;) {
    const segment = wanted[at];
    if (segment === ANY_NUMBER) {
      retryAt = ++at;
      retryFrom = from;
    } else if (segment !== undefined && (segment === ANY_ONE || literal(segment) === given[from])) {
      at++;
      from++;
    } else if (retryAt >= 0) {
      at = retryAt;
      from = ++retryFrom;
    } else {
      return false;
    }
  }
  if (wanted[at] === ANY_NUMBER) at++;
  return at === wanted.length;
}

class Node<Value> {
  readonly literals: Map<string, Node<Value>> = new Map();
  one: Node<Value> | null = null;
  number: Node<Value> | null = null;
  readonly values: Set<Value> = new Set();
  /** This node is its parent's `number`: it may take any segment and stay where it is. */
  readonly stays: boolean;

  constructor(stays: boolean) {
    this.stays = stays;
  }

  get empty(): boolean {
    return this.values.size === 0 && this.literals.size === 0 && this.one === null && this.number === null;
  }

  child(segment: string): Node<Value> | null {
    if (segment === ANY_ONE) return this.one;
    if (segment === ANY_NUMBER) return this.number;
    return this.literals.get(literal(segment)) ?? null;
  }

  grow(segment: string): Node<Value> {
    const node = new Node<Value>(segment === ANY_NUMBER);
    if (segment === ANY_ONE) this.one = node;
    else if (segment === ANY_NUMBER) this.number = node;
    else this.literals.set(literal(segment), node);
    return node;
  }

  cut(segment: string): void {
    if (segment === ANY_ONE) this.one = null;
    else if (segment === ANY_NUMBER) this.number = null;
    else this.literals.delete(literal(segment));
  }
}

function enter<Value>(active: Set<Node<Value>>, node: Node<Value> | null | undefined): void {
  if (node === null || node === undefined) return;
  active.add(node);
  // A run of `**` is one, so that this goes one step deep.
  if (node.number !== null) active.add(node.number);
}

/**
 * Many patterns, asked together: a tree by segment. A match visits the nodes whose beginnings match the path's, however
 * many patterns there are besides. A value may be added under several patterns; a match returns it once.
 */
export class GlobIndex<Value> {
  private readonly root = new Node<Value>(false);

  add(pattern: string, value: Value): void {
    let node = this.root;
    for (const segment of segmentsOf(pattern)) node = node.child(segment) ?? node.grow(segment);
    node.values.add(value);
  }

  /** Nothing happens when `value` is not there under `pattern`. */
  remove(pattern: string, value: Value): void {
    const segments = segmentsOf(pattern);
    const nodes = [this.root];
    for (const segment of segments) {
      const next = nodes.at(-1)?.child(segment) ?? null;
      if (next === null) return;
      nodes.push(next);
    }
    nodes.at(-1)?.values.delete(value);
    for (let at = segments.length - 1; at >= 0 && nodes[at + 1]?.empty === true; at--) {
      nodes[at]?.cut(segments[at] as string);
    }
  }

  /** The values of all patterns that match `path`, in no particular order. */
  match(path: string): Value[] {
    let active = new Set<Node<Value>>();
    enter(active, this.root);
    for (const segment of path.split("/")) {
      const next = new Set<Node<Value>>();
      for (const node of active) {
        if (node.stays) enter(next, node);
        enter(next, node.one);
        enter(next, node.literals.get(segment));
      }
      if (next.size === 0) return [];
      active = next;
    }
    const found = new Set<Value>();
    for (const node of active) for (const value of node.values) found.add(value);
    return [...found];
  }
}
