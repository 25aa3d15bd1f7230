/**
 * What the server loads when it first needs it is loaded at once here: to load a module takes the real clock's time, which no
 * seed decides.
 */
const LATE = /^(\s*)const (\{ [\w, ]+ \}) = await import\(("[^"]+")\);$/gm;

/** @throws Error when the file loads something late in a form that is not known here */
export function importEarly(file: string, text: string): string {
  if (!text.includes("import(")) return text;
  const early: string[] = [];
  const rest = text.replace(LATE, (_, indent: string, names: string, from: string) => {
    early.push(`import ${names} from ${from};`);
    return `${indent}await undefined;`;
  });
  if (rest.includes("import("))
    throw new Error(`${file} loads a module late, which no seed can decide: early-imports.ts knows some forms`);
  return `${early.join("\n")}\n${rest}`;
}
