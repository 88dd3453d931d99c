// The kinds of panel, drawn with Grafana's components where @grafana/ui has them.

import React, { useContext } from 'react';
import {
  DataFrame,
  dateTime,
  DisplayValue,
  FieldDisplay,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  GrafanaTheme2,
  ThemeContext,
  TimeRange,
} from '@grafana/data';
import { BarGauge, BigValue, Table, TimeSeries, UPlotConfigBuilder, VizRepeater } from '@grafana/ui';
import { framesOf, tableOf } from './frames';
import { Heatmap } from './heatmap';
import { Answer, Panel, Picture } from './model';

export interface Drawing {
  panel: Panel;
  answers: Answer[];
  picture: Picture;
  width: number;
  height: number;
}

function displays(drawing: Drawing, frames: DataFrame[], theme: GrafanaTheme2): FieldDisplay[] {
  const { panel } = drawing;
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig as any,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    timeZone: 'utc',
  });
}

function Stats(drawing: Drawing & { frames: DataFrame[]; theme: GrafanaTheme2 }): React.ReactElement {
  const { frames, theme, panel, width, height } = drawing;
  const values = () => displays(drawing, frames, theme);
  return (
    <VizRepeater
      getValues={values}
      source={frames}
      renderCounter={0}
      width={width}
      height={height}
      orientation={panel.options.orientation}
      itemSpacing={6}
      autoGrid
      renderValue={({ value, width, height, count }: any) => (
        <BigValue
          value={count > 1 ? value.display : { ...value.display, title: undefined }}
          count={count}
          width={width}
          height={height}
          theme={theme}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode}
          textMode={count > 1 ? ('value_and_name' as any) : panel.options.textMode}
          hasLinks={false}
          text={panel.options.text}
        />
      )}
    />
  );
}

function Bars(drawing: Drawing & { frames: DataFrame[]; theme: GrafanaTheme2 }): React.ReactElement {
  const { frames, theme, panel, width, height } = drawing;
  const { options } = panel;
  return (
    <VizRepeater
      getValues={() => displays(drawing, frames, theme)}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      renderCounter={0}
      width={width}
      height={height}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      orientation={options.orientation}
      renderValue={({ value, alignmentFactors, orientation, width, height, count }: any) => (
        <BarGauge
          value={value.display}
          width={width}
          height={height}
          orientation={orientation}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          theme={theme}
          itemSpacing={8}
          displayMode={options.displayMode}
          alignmentFactors={count > 1 ? alignmentFactors : undefined}
          showUnfilled={options.showUnfilled}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
        />
      )}
    />
  );
}

/** A half circle; the one of @grafana/ui 10 needs a plug-in of jQuery. */
function Dial({
  display,
  field,
  width,
  height,
  theme,
}: {
  display: DisplayValue;
  field: any;
  width: number;
  height: number;
  theme: GrafanaTheme2;
}) {
  const radius = Math.min(width / 2, height * 0.62) / 1.25 - 4;
  const [x, y] = [width / 2, height / 2 + radius / 2];
  const arc = (from: number, to: number, r: number) => {
    const at = (share: number) => [x - r * Math.cos(Math.PI * share), y - r * Math.sin(Math.PI * share)];
    return `M ${at(from).join(' ')} A ${r} ${r} 0 0 1 ${at(to).join(' ')}`;
  };
  const [low, high] = [field.min ?? 0, field.max ?? 1];
  const share = (value: number) => Math.min(1, Math.max(0, (value - low) / (high - low)));
  const steps: Array<{ value: number | null; color: string }> = field.thresholds.steps;
  return (
    <svg width={width} height={height}>
      <path d={arc(0, 1, radius)} stroke={theme.colors.background.secondary} strokeWidth={radius * 0.3} fill="none" />
      <path d={arc(0, share(display.numeric), radius)} stroke={display.color} strokeWidth={radius * 0.3} fill="none" />
      {steps.map((step, index) => (
        <path
          key={index}
          d={arc(share(step.value ?? low), share(steps[index + 1]?.value ?? high), radius * 1.2)}
          fill="none"
          stroke={theme.visualization.getColorByName(step.color)}
          strokeWidth={radius * 0.05}
        />
      ))}
      <text
        x={x}
        y={y}
        textAnchor="middle"
        fontSize={radius * 0.38}
        fill={display.color}
        fontFamily={theme.typography.fontFamily}
      >
        {display.text}
        {display.suffix}
      </text>
    </svg>
  );
}

function Gauges(drawing: Drawing & { frames: DataFrame[]; theme: GrafanaTheme2 }): React.ReactElement {
  const found = displays(drawing, drawing.frames, drawing.theme);
  const width = drawing.width / found.length;
  return (
    <div style={{ display: 'flex' }}>
      {found.map((one, index) => (
        <Dial
          key={index}
          display={one.display}
          field={drawing.panel.fieldConfig.defaults}
          width={width}
          height={drawing.height}
          theme={drawing.theme}
        />
      ))}
    </div>
  );
}

/** Draws the marks of annotations over a chart: a line at an event, a shade over a span. */
function drawMarks(builder: UPlotConfigBuilder, picture: Picture): void {
  builder.addHook('draw', (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const mark of picture.marks) {
      const [left, right] = [plot.valToPos(mark.start, 'x', true), plot.valToPos(mark.end, 'x', true)];
      ctx.strokeStyle = ctx.fillStyle = mark.color;
      ctx.globalAlpha = 0.12;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 0.9;
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  });
}

function Lines(drawing: Drawing & { frames: DataFrame[]; theme: GrafanaTheme2 }): React.ReactElement {
  const { frames, picture, panel, width, height } = drawing;
  const [from, to] = [dateTime(picture.from), dateTime(picture.to)];
  const range: TimeRange = { from, to, raw: { from, to } };
  const Chart = TimeSeries as any;
  const marked = new WeakSet<UPlotConfigBuilder>();
  return (
    <Chart
      frames={frames}
      timeRange={range}
      timeZone="utc"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
      structureRev={1}
    >
      {(builder: UPlotConfigBuilder) => {
        if (!marked.has(builder)) {
          marked.add(builder);
          drawMarks(builder, picture);
        }
        return null;
      }}
    </Chart>
  );
}

function Empty({ panel, width, height }: Drawing): React.ReactElement {
  const theme = useContext(ThemeContext);
  return (
    <div
      style={{
        width,
        height,
        display: 'flex',
        alignItems: 'center',
        justifyContent: 'center',
        color: theme.colors.text.secondary,
      }}
    >
      {panel.fieldConfig.defaults.noValue ?? 'No data'}
    </div>
  );
}

/** The inside of a panel. */
export function PanelBody(drawing: Drawing): React.ReactElement {
  const theme = useContext(ThemeContext);
  const { panel, answers, picture, width, height } = drawing;
  const frames = framesOf(panel, answers, picture, theme);
  const single = ['stat', 'gauge', 'bargauge'].includes(panel.type);
  if (frames.length === 0 && !single) {
    return <Empty {...drawing} />;
  }
  switch (panel.type) {
    case 'stat':
      return <Stats {...drawing} frames={frames} theme={theme} />;
    case 'bargauge':
      return <Bars {...drawing} frames={frames} theme={theme} />;
    case 'gauge':
      return <Gauges {...drawing} frames={frames} theme={theme} />;
    case 'timeseries':
      return <Lines {...drawing} frames={frames} theme={theme} />;
    case 'table':
      return <Table data={tableOf(panel, answers, theme)} width={width} height={height} />;
    case 'heatmap':
      return <Heatmap {...drawing} theme={theme} />;
    default:
      throw new Error(`no way to draw a ${panel.type}`);
  }
}
