// What tools/dashboards/pictures.py puts into the page as `window.picture`.

export interface Series {
  name: string;
  labels: Record<string, string>;
  /** Milliseconds and value. */
  points: Array<[number, number]>;
}

export interface Answer {
  refId: string;
  series: Series[];
}

export interface Override {
  matcher: { id: string; options: string };
  properties: Array<{ id: string; value: unknown }>;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: Record<string, any>; overrides: Override[] };
  options: Record<string, any>;
  transformations?: Array<{ id: string; options: Record<string, any> }>;
}

export interface Mark {
  name: string;
  color: string;
  /** Milliseconds; `end` is later where it is a span. */
  start: number;
  end: number;
}

export interface Picture {
  dashboard: { title: string; panels: Panel[]; links: Array<{ title: string }> };
  variables: Array<{ label: string; value: string }>;
  /** By the number of the panel. */
  answers: Record<string, Answer[]>;
  marks: Mark[];
  /** Milliseconds. */
  from: number;
  to: number;
  step: number;
  width: number;
}
