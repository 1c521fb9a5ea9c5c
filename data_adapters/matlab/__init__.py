"""MATLAB files: any variables, FieldTrip structs, rasters of single sites; versions 5 to 7.3."""
