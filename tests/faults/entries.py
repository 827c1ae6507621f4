"""All entries of the table of faults."""

from tests.faults import faults_compiled, faults_derivatives, faults_messages, faults_runs, faults_state

FILES = (faults_derivatives, faults_compiled, faults_state, faults_runs, faults_messages)
ENTRIES = [entry for file in FILES for entry in file.ENTRIES]
